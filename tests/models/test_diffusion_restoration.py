"""Editing and restoring by a denoiser that is exact, where the law of the result is known in closed form."""

from __future__ import annotations

import math
import re

import pytest
import torch
from torch import Tensor, nn

import exnihilo.models  # noqa: F401 - registers every recipe
from exnihilo.core import Batch, DataSpec, Findings, Noise, OptionError, Unsupported, create
from exnihilo.models.diffusion.family import Diffusion
from exnihilo.models.diffusion.predictions import predict_noise
from exnihilo.models.diffusion.restoration import time_of_strength
from exnihilo.models.diffusion.times import stratified
from exnihilo.probability.paths import Path, Plain, Straight, VariancePreserving
from exnihilo.probability.projections import brightness, coarse, grey, known, low_pass
from exnihilo.probability.schedules import Discrete, linear_betas
from exnihilo.probability.transitions import curves

MEAN, VARIANCE = 0.3, 0.25
N = 20_000


class ExactNoise(nn.Module):
    """The expected noise of N(m, d) in every entry, on paths whose clock is t."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = path

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None, attributes: Tensor | None) -> Tensor:
        alpha, sigma = self.path(t.view(-1, *[1] * (x.ndim - 1)))
        return sigma * (x - alpha * MEAN) / (alpha.square() * VARIANCE + sigma.square())


def exact(path: Path, shape: tuple[int, ...] = (1,), kind: str = "vector") -> Diffusion:
    box = torch.full(shape, -30.0), torch.full(shape, 30.0)
    model = Diffusion(ExactNoise(path), path, predict_noise, stratified, box=box)
    model.spec = DataSpec(kind, shape, levels=256 if kind == "image" else 0, examples=100)  # type: ignore[arg-type]
    model.recipe = "exact"
    return model.eval()


def parts(path: Path, strength: float) -> tuple[float, float, float]:
    """alpha, sigma and C = a^2 d + s^2 at a strength."""
    time = path.time_of(torch.tensor(math.log((1 - strength) / strength), dtype=torch.float64))
    alpha, sigma = curves(path, float(time))
    return alpha, sigma, alpha**2 * VARIANCE + sigma**2


@pytest.mark.parametrize("path", [VariancePreserving(), Straight()], ids=["preserving", "straight"])
@pytest.mark.parametrize("strength", [0.2, 0.5, 0.8])
def test_sdedit_along_the_flow_has_the_mean_and_variance_of_the_card(path: Path, strength: float) -> None:
    guide = torch.full((N, 1), 1.7, dtype=torch.float64)
    found = exact(path).redraw(guide, Noise(0, N), strength=strength, steps=60, solver="heun", threshold="none")
    alpha, sigma, whole = parts(path, strength)
    gain = math.sqrt(VARIANCE / whole)
    assert found.mean().item() == pytest.approx(MEAN + gain * alpha * (1.7 - MEAN), abs=0.02)
    assert found.var().item() == pytest.approx(gain**2 * sigma**2, rel=0.05)


@pytest.mark.parametrize("strength", [0.2, 0.5, 0.8])
def test_sdedit_by_the_reverse_process_forgets_more_of_the_guide(strength: float) -> None:
    path = VariancePreserving()
    guide = torch.full((N, 1), 1.7, dtype=torch.float64)
    found = exact(path).redraw(guide, Noise(0, N), strength=strength, steps=250, solver="ancestral", threshold="none")
    alpha, sigma, whole = parts(path, strength)
    rho = alpha**2 * VARIANCE / whole
    assert found.mean().item() == pytest.approx(MEAN + rho * (1.7 - MEAN), abs=0.02)
    variance = sigma**2 * VARIANCE / whole + (alpha * VARIANCE / whole) ** 2 * sigma**2
    assert found.var().item() == pytest.approx(variance, rel=0.06)
    assert rho < math.sqrt(VARIANCE / whole) * alpha  # the flow keeps more


def test_a_strength_means_the_same_share_of_noise_on_every_path() -> None:
    for path in (Straight(), VariancePreserving(), Plain(0.002, 80.0), Discrete(linear_betas())):
        model = exact(path)
        alpha, sigma = curves(path, time_of_strength(model, 0.4))
        assert sigma / (alpha + sigma) == pytest.approx(0.4, abs=1e-3)
        assert time_of_strength(model, 1.0) == 1.0
    assert time_of_strength(exact(Straight()), 0.35) == pytest.approx(0.35)
    for wrong in (0.0, -0.1, 1.5):
        with pytest.raises(OptionError, match=r"strength=.* is not allowed"):
            time_of_strength(exact(Straight()), wrong)


def test_nothing_of_the_guide_is_left_at_full_strength_and_nearly_all_at_little() -> None:
    model, noise = exact(VariancePreserving(), (1, 4, 4), "image"), lambda: Noise(0, 8)
    guide = torch.full((8, 1, 4, 4), 0.9)
    whole = model.redraw(guide, noise(), strength=1.0)
    assert torch.equal(whole, model.redraw(-guide, noise(), strength=1.0))
    assert torch.equal(whole, model.draw(noise()))
    changes = [(model.redraw(guide, noise(), strength=s) - guide).square().mean() for s in (0.05, 0.3, 0.6, 1.0)]
    assert changes == sorted(changes)
    assert changes[0] < 0.02


def test_what_is_known_is_kept_and_what_is_unknown_not_looked_at() -> None:
    model = exact(VariancePreserving(), (3, 6, 6), "image")
    x = Noise(1, 5).normal(3, 6, 6).clamp(-1, 1)
    mask = torch.zeros(1, 6, 6, dtype=torch.bool)
    mask[:, :3] = True
    kept = {"steps": 12, "solver": "ancestral", "repeats": 2}
    found = model.redraw(x, Noise(0, 5), agree=known(mask), **kept)
    assert torch.equal(found[:, :, :3], x[:, :, :3])
    other = torch.where(mask, x, 0.77)
    assert torch.equal(model.redraw(other, Noise(0, 5), agree=known(mask), **kept), found)
    for agree, part in ((coarse(2), lambda y: low_pass(y, 2)), (grey(), brightness)):
        found = model.redraw(x, Noise(0, 5), agree=agree, **kept)
        torch.testing.assert_close(part(found), part(x), rtol=0, atol=1e-5)
        again = model.redraw(part(x), Noise(0, 5), agree=agree, **kept)
        torch.testing.assert_close(again, found, rtol=0, atol=1e-4)
        assert (found - x).abs().mean() > 0.1


def test_the_known_mean_of_independent_entries_says_what_their_difference_may_be() -> None:
    """Of a square of k entries with mean m the rest is N(0, d) around m, whatever the projection: exact at r = 1."""
    model = exact(VariancePreserving(), (1, 2, 2), "image")
    x = torch.full((4000, 1, 2, 2), 0.8)
    found = model.redraw(x, Noise(0, 4000), agree=coarse(2), steps=250, solver="ancestral")
    rest = found - found.mean(dim=(-1, -2), keepdim=True)
    assert found.mean().item() == pytest.approx(0.8, abs=1e-4)
    assert rest.square().mean().item() == pytest.approx(VARIANCE * 3 / 4, rel=0.06)


def test_samplers_that_remember_begin_anew_after_every_projection() -> None:
    model = exact(VariancePreserving(), (1, 4, 4), "image")
    x, mask = torch.zeros(4, 1, 4, 4), torch.ones(1, 4, 4, dtype=torch.bool)
    mask[:, 2:] = False
    first, second = (
        model.redraw(x, Noise(0, 4), agree=known(mask), steps=15, spacing="time", solver=solver)
        for solver in ("dpmpp_2m", "ddim")
    )
    torch.testing.assert_close(first, second, rtol=0, atol=1e-4)  # without a memory the one is the other


def test_who_cannot_says_who_can() -> None:
    spec = DataSpec("image", (1, 8, 8), levels=17, examples=100)
    x = torch.zeros(2, 1, 8, 8)
    for name in ("vae", "consistency"):
        model = create(name, spec, width=8)
        assert not model.redraws
        with pytest.raises(Unsupported, match=rf"{name}.*Models that can: .*ddpm"):
            model.redraw(x, Noise(0, 2))
    model = create("ddpm", spec, width=8)
    assert model.redraws
    with pytest.raises(OptionError, match=r"ddpm has no option 'stepz'. Did you mean 'steps'\?"):
        model.redraw(x, Noise(0, 2), stepz=3)
    with pytest.raises(OptionError, match="repeats=0 is not allowed"):
        model.redraw(x, Noise(0, 2), repeats=0)


# -- a look at the predicted noise -----------------------------------------------------------------------------------


class Wrong(ExactNoise):
    """The exact answer, changed."""

    def __init__(self, path: Path, factor: float = 1.0, offset: float = 0.0, blind: bool = False):
        super().__init__(path)
        self.factor, self.offset, self.blind = factor, offset, blind

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None, attributes: Tensor | None) -> Tensor:
        t = torch.full_like(t, 0.3) if self.blind else t
        return self.factor * super().forward(x, t, label, attributes) + self.offset


def looked_at(path: Path, network: nn.Module | None = None) -> Findings:
    model = exact(path, (1, 12, 12), "image")
    model.network = network or model.network
    x = MEAN + math.sqrt(VARIANCE) * Noise(3, 128).normal(1, 12, 12)
    found = model.findings(Batch(x))
    assert found is not None
    return found


@pytest.mark.parametrize("path", [Straight(), VariancePreserving()], ids=["straight", "preserving"])
def test_the_predicted_noise_of_the_exact_denoiser_is_as_the_card_says(path: Path) -> None:
    found = looked_at(path)
    assert found.messages == []
    for place, share in enumerate(found.columns["noise share"]):
        alpha, sigma, whole = parts(path, share)
        row = {name: values[place] for name, values in found.columns.items()}
        assert row["mean"] == pytest.approx(0, abs=0.03)
        assert row["variance"] == pytest.approx(sigma**2 / whole, rel=0.05)
        assert row["error"] == pytest.approx(alpha**2 * VARIANCE / whole, rel=0.05)
        assert row["linear"] == pytest.approx(row["error"], rel=0.03)
        assert row["data error"] == pytest.approx(sigma**2 * VARIANCE / whole, rel=0.05)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offset": 0.3}, r"has the mean \+0\.\d+ .* not 0"),
        ({"factor": 0.7}, "too weak where noise is .*Train longer"),
        ({"factor": 1.3}, "too strong where noise is"),
        ({"factor": 0.0}, "no better than by one who knows only mean and variance"),
        ({"blind": True}, "ignores the time it is told"),
    ],
)
def test_what_is_wrong_with_a_denoiser_is_said(changes: dict[str, float], message: str) -> None:
    path = VariancePreserving()
    messages = looked_at(path, Wrong(path, **changes)).messages  # type: ignore[arg-type]
    assert any(re.search(message, text) for text in messages), messages


def test_models_without_a_mean_to_answer_are_not_looked_at() -> None:
    spec = DataSpec("image", (1, 8, 8), levels=17, examples=100)
    batch = Batch(torch.zeros(4, 1, 8, 8))
    assert create("consistency", spec, width=8).findings(batch) is None
    assert create("vae", spec, width=8).findings(batch) is None
    assert create("ddpm", spec, width=8).eval().findings(batch) is not None
