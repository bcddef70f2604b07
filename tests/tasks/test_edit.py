from __future__ import annotations

from pathlib import Path

import pytest
import torch

from exnihilo.core import DataError, OptionError, Unsupported, create
from exnihilo.data import load_data
from exnihilo.tasks import edit
from exnihilo.training import train


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


@pytest.fixture(scope="module")
def flow(digits):
    return train(create("flow_matching", digits, width=8), digits, steps=2, threads=1, progress=False).model


@pytest.fixture(scope="module")
def vae(digits):
    return train(create("vae", digits, width=16, latent=4), digits, steps=60, threads=1, progress=False).model


def test_the_stronger_the_farther(flow, digits):
    x = digits.split("test").first(16).x
    change = [float((edit(flow, x, strength=s, steps=4).draws[0] - x).square().mean()) for s in (0.05, 0.3, 0.6, 1.0)]
    assert change == sorted(change)
    assert change[0] < 0.05
    whole = edit(flow, x, strength=1.0, steps=4).draws
    assert torch.equal(whole, edit(flow, -x, strength=1.0, steps=4).draws)
    found = edit(flow, x, n=2, steps=4, label="3")
    assert found.draws.shape == (2, *x.shape)
    assert found.how == "strength 0.5 to class 3, by noise"
    assert not torch.equal(found.draws[0], edit(flow, x, steps=4, label="8").draws[0])


def test_with_a_mask_the_rest_is_left_alone(flow, digits):
    x = digits.first(4).x
    found = edit(flow, x, strength=0.7, mask="box", steps=4).draws[0]
    inside = torch.zeros(8, 8, dtype=torch.bool)
    inside[2:6, 2:6] = True
    assert torch.equal(found[..., ~inside], x[..., ~inside])
    assert not torch.equal(found[..., inside], x[..., inside])


def test_codes_are_turned_by_models_that_have_them(vae, digits):
    x = digits.split("test").first(40).x
    still = edit(vae, x, strength=0)
    assert still.how.endswith("by inversion")
    torch.testing.assert_close(still.draws[0], vae.reconstruct(x))
    change = [float((edit(vae, x, strength=s).draws[0] - still.draws[0]).square().mean()) for s in (0.1, 0.5, 1.0)]
    assert change == sorted(change)
    whole = edit(vae, x, strength=1.0).draws
    torch.testing.assert_close(
        whole, edit(vae, -x, strength=1.0).draws, rtol=0, atol=1e-4
    )  # cos 90 degrees is not quite 0
    with pytest.raises(OptionError, match="By inversion, edit takes no steps"):
        edit(vae, x, steps=3)
    with pytest.raises(DataError, match="trained without labels"):
        edit(vae, x, label="3")


def test_judged_along_the_strengths(flow, digits, tmp_path: Path):
    found = edit(flow, digits, limit=40, steps=2, strength=0.4)
    rows = found.judged.rows
    assert list(rows) == [
        "true picture", "guide", "strength 0.2", "strength 0.35", "strength 0.4", "strength 0.5", "strength 0.65",
        "strength 0.8", "fresh sample",
    ]  # fmt: skip
    near = [rows[name]["PSNR to guide"].value for name in list(rows)[2:]]
    assert near == sorted(near, reverse=True)
    assert rows["true picture"]["Frechet ratio"].value == pytest.approx(1, abs=1e-5)
    assert rows["guide"]["Frechet ratio"].value > 1
    assert rows["true picture"]["class"].value > 0.9
    assert len(found.save(tmp_path)) == 41
    assert (tmp_path / "edited.png").exists()


def test_mistakes(flow, vae, digits):
    x = digits.first(2).x
    for wrong, error, message in (
        ({"strength": 0.0}, OptionError, r"strength=0 is not allowed"),
        ({"strength": 1.2}, OptionError, r"strength=1.2 is not allowed. It takes a number above 0 and at most 1"),
        ({"way": "magic"}, OptionError, "way=magic is not allowed"),
        ({"n": 0}, OptionError, "n=0 is not allowed"),
        ({"label": "twelve"}, DataError, "no class 'twelve'"),
        ({"mask": "blox"}, OptionError, "Did you mean 'box'"),
    ):
        with pytest.raises(error, match=message):
            edit(flow, x, **wrong)
    with pytest.raises(Unsupported, match=r"vae does not draw by taking noise away.*Models that can: .*ddpm"):
        edit(vae, x, way="noise")
    with pytest.raises(Unsupported, match="dcgan does not draw by taking noise away"):
        edit(create("dcgan", digits, width=8), x)
    with pytest.raises(Unsupported, match=r"dcgan cannot encode"):
        edit(create("dcgan", digits, width=8), x, way="inversion")
    points = load_data("moons")
    with pytest.raises(Unsupported, match="Only pictures are edited"):
        edit(create("flow_matching", points, width=8), points)
