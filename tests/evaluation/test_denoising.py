from __future__ import annotations

import pytest
import torch

import exnihilo.models  # noqa: F401 - registers every recipe
from exnihilo.core import DataError, DataSpec, Unsupported, create
from exnihilo.evaluation.denoising import DenoisingPath, denoising_path, watched

IMAGE = DataSpec("image", (1, 8, 8), levels=17, examples=100, classes=3, class_names=("a", "b", "c"))
PLANE = DataSpec("vector", (2,), examples=100)


@pytest.mark.parametrize("name", ["ddpm", "flow_matching", "edm", "consistency", "progressive_distillation"])
def test_the_way_ends_in_the_samples_of_the_seed(name: str) -> None:
    model = create(name, IMAGE, seed=0, width=8).eval()
    asked = {} if name in ("consistency", "progressive_distillation") else {"steps": 6}
    way = denoising_path(model, 3, columns=4, seed=5, **asked)
    assert torch.equal(way.samples, model.sample(3, seed=5, **asked))
    assert way.times[0] == 1
    assert (way.times[1:] < way.times[:-1]).all()
    assert way.x.shape == way.data.shape == (len(way.times), 3, 1, 8, 8)
    assert len(way.times) <= 4
    again = DenoisingPath.of(way.tensors())
    assert again is not None
    assert torch.equal(again.x, way.x)
    assert way.picture(IMAGE).width > 100
    assert "denoise" not in model.__dict__, "the model is as before"


def test_guided_and_adaptive_samplers_are_watched_too() -> None:
    model = create("flow_matching", IMAGE, seed=0, width=8).eval()
    way = denoising_path(model, 2, columns=5, label="b", guidance=2.0, steps=8, solver="heun")
    assert way.x.shape[:2] == (5, 2)
    with watched(model) as looks:
        model.sample(2, seed=0, steps=4, solver="euler")
    assert [round(t, 3) for t, *_ in looks] == [1.0, 0.75, 0.5, 0.25]


def test_points_of_a_plane_have_panels_and_other_data_say_so() -> None:
    model = create("flow_matching", PLANE, seed=0, width=8).eval()
    way = denoising_path(model, 40, columns=3, steps=5)
    picture = way.picture(PLANE)
    assert picture.width > picture.height
    series = DataSpec("vector", (5,), examples=100)
    with pytest.raises(DataError, match="shown for pictures and points of a plane, not for vector data"):
        denoising_path(create("flow_matching", series, width=8).eval(), 2, steps=2).picture(series)
    with pytest.raises(Unsupported, match="vae cannot denoise"):
        denoising_path(create("vae", PLANE, width=8), 2)
