from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

import exnihilo.models  # noqa: F401
from exnihilo.core import Batch, Column, DataSpec, create, list_models, seeded
from exnihilo.models.diffusion import ContinuousDiffusion, Diffusion
from exnihilo.models.diffusion.networks import TIMED, TimedNetwork, patch_of, timed_network
from exnihilo.nets.dit import DiT
from exnihilo.nets.layers import Fourier, RandomFourier
from exnihilo.nets.mlp import ResidualMLP
from exnihilo.nets.unet import UNet
from exnihilo.nets.uvit import UViT
from tests.models.test_diffusion import CLASSES, IMAGE, LARGE, TABLE, VECTOR, OneSplit, fit, rough, some

STEPS = tuple(Column(name, "number", place) for place, name in enumerate("ab"))
SERIES = DataSpec("series", (2, 13), columns=STEPS, examples=100, **CLASSES)  # type: ignore[arg-type]
AUDIO = DataSpec("audio", (1, 200), rate=8000.0, examples=100)
LEVELS = replace(AUDIO, shape=(1, 24), levels=16)
TRANSFORMERS: dict[str, type[nn.Module]] = {"dit": DiT, "uvit": UViT}


def body_of(model: Any) -> nn.Module:
    return cast(TimedNetwork, cast(Diffusion, model).network).body


def recipes(kind: str) -> list[str]:
    return [entry.name for entry in list_models() if entry.family == "diffusion" and kind in entry.kinds]


@pytest.mark.parametrize("spec", [SERIES, AUDIO, LEVELS], ids=["series", "audio", "audio of levels"])
@pytest.mark.parametrize("name", recipes("series"))
def test_denoisers_take_series_and_sound(name: str, spec: DataSpec) -> None:
    batch = some(spec)
    model = cast(Diffusion, create(name, spec, width=8))
    for stage in model.stages():
        if stage.enter is not None:
            stage.enter(OneSplit(batch.x))  # type: ignore[arg-type]
        break
    rough(model, 0.03)
    for player in model.players():
        assert torch.stack([term for term in player.loss(batch).values() if term.requires_grad]).isfinite().all()
    samples = model.sample(3, seed=1, steps=3)
    assert samples.shape == (3, *spec.shape)
    assert samples.isfinite().all()
    if not isinstance(model, ContinuousDiffusion):  # whose density is the same for all networks, and slow
        assert "log_prob_bound" not in model.capabilities or model.log_prob_bound(batch.x, k=2).isfinite().all()


def test_what_lies_in_order_gets_a_unet_and_the_rest_an_mlp() -> None:
    assert set(recipes("audio")) == set(recipes("series"))
    for spec, kind in [(IMAGE, UNet), (SERIES, UNet), (AUDIO, UNet), (VECTOR, ResidualMLP), (TABLE, ResidualMLP)]:
        assert spec.kind in TIMED
        assert type(timed_network(spec, 8).body) is kind
    network = timed_network(replace(AUDIO, shape=(1, 1000)), 8)
    assert cast(UNet, network.body).patch == 8  # 125 patches


def test_patches_are_as_small_as_the_number_of_tokens_allows() -> None:
    sides = {
        (1, 8, 8): 1,
        (1, 28, 28): 4,
        (3, 32, 32): 4,
        (3, 33, 20): 4,
        (3, 33, 33): 8,
        (1, 64): 1,
        (2, 65): 2,
        (1, 1024): 16,
    }
    for shape, patch in sides.items():
        spec = DataSpec("image" if len(shape) == 3 else "series", shape)
        assert patch_of(spec) == patch
        assert patch_of(spec, least=2) == max(2, patch)


@pytest.mark.parametrize("name", list(TRANSFORMERS))
@pytest.mark.parametrize("spec", [IMAGE, LARGE, replace(IMAGE, shape=(2, 5, 1))], ids=str)
@pytest.mark.parametrize("patch", [0, 3])
def test_transformers_take_pictures_of_any_side(name: str, spec: DataSpec, patch: int) -> None:
    model = create(name, spec, width=9, depth=1, patch=patch)
    body = body_of(model)
    assert type(body) is TRANSFORMERS[name]
    assert body.patch == (patch or patch_of(spec, least=2))
    rough(model)
    assert all(term.isfinite() for term in cast(Diffusion, model).loss(some(spec)).values())
    samples = model.sample(2, seed=0, steps=2)
    assert samples.shape == (2, *spec.shape)
    assert samples.isfinite().all()


@pytest.mark.parametrize("name", list(TRANSFORMERS))
def test_classes_and_attributes_are_heard(name: str) -> None:
    spec = replace(IMAGE, attributes=TABLE.attributes)
    model = cast(Diffusion, rough(create(name, spec, width=16, depth=1), 0.5))
    x, t = torch.randn(3, *spec.shape), torch.full((3,), 0.5)

    def noise(label: Tensor | None, attributes: Tensor | None = None) -> Tensor:
        return model.denoise(x, t, label=label, attributes=attributes).noise

    unknown = noise(None)
    torch.testing.assert_close(noise(torch.full((3,), -1)), unknown)
    for label in range(3):
        assert (noise(torch.full((3,), label)) - unknown).abs().max() > 1e-3
    assert (noise(None, torch.ones(3, 2)) - unknown).abs().max() > 1e-3


@pytest.mark.parametrize("name", list(TRANSFORMERS))
def test_transformers_learn(name: str) -> None:
    spec = DataSpec("series", (1, 6), columns=STEPS[:1], examples=100)
    waves = torch.tensor([[1.0, -1, 1, -1, 1, -1], [-1, -1, -1, 1, 1, 1]])[:, None].repeat(64, 1, 1)
    model, batch = create(name, spec, width=32, depth=1), Batch(waves)
    with seeded("before"):
        assert model.validate(batch)["loss"].item() == pytest.approx(1, abs=0.2)  # of a noise expected to be 0
    fit(model, batch, 150)
    with seeded("after"):
        assert model.validate(batch)["loss"] < 0.4


def test_the_exploding_path_is_told_its_time_by_random_frequencies() -> None:
    def features(**options: str) -> nn.Module:
        model = cast(Diffusion, create("score_sde", IMAGE, width=8, **options))
        return cast(Any, model.network).embedding.time[0]

    assert isinstance(features(sde="ve"), RandomFourier)
    assert isinstance(features(sde="vp"), Fourier)
