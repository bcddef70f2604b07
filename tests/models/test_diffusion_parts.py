"""Slots of the family: predictions, weightings, times, couplings, guidance, each against its closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from exnihilo.core import Noise, Prediction, seeded
from exnihilo.models.diffusion.couplings import independent, transported
from exnihilo.models.diffusion.guidance import by_energy, classifier_free, clipped, dynamic
from exnihilo.models.diffusion.predictions import (
    PredictionType,
    preconditioned,
    predict_data,
    predict_noise,
    predict_score,
    predict_v,
    predict_velocity,
    scaled_noise,
)
from exnihilo.models.diffusion.times import from_least, log_normal
from exnihilo.models.diffusion.weightings import (
    evenly,
    likelihood,
    min_snr,
    p2,
    simple,
    snr,
    truncated_snr,
    unit_variance,
)
from exnihilo.probability.grids import time_grid
from exnihilo.probability.paths import (
    Cosine,
    Path,
    Plain,
    Straight,
    SubVariancePreserving,
    VarianceExploding,
    VariancePreserving,
)
from exnihilo.probability.schedules import Discrete, linear_betas
from exnihilo.probability.solvers import NoiseHeun, solve
from tests.probability.gaussian import exact_denoiser

PATHS: list[Path] = [
    Straight(), Cosine(), VariancePreserving(), SubVariancePreserving(), VarianceExploding(), Plain(),
    Discrete(linear_betas()),
]  # fmt: skip
KINDS: list[PredictionType] = [
    predict_noise, predict_data, predict_velocity, predict_v, predict_score, scaled_noise(0.5), preconditioned(0.5),
]  # fmt: skip
WEIGHTINGS = [simple, likelihood, truncated_snr, min_snr(5.0), p2(), unit_variance(0.5)]


def somewhere(path: Path) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(t, data, noise, x_t), in double precision, away from the ends."""
    t = torch.linspace(0.02, 0.98, 49, dtype=torch.float64)[:, None]
    data, noise = Noise(0, 49).normal(3, dtype=torch.float64), Noise(1, 49).normal(3, dtype=torch.float64)
    alpha, sigma = path(t)
    return t, data, noise, alpha * data + sigma * noise


@pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
@pytest.mark.parametrize("kind", KINDS)
def test_targets_are_read_back_and_slopes_say_how_errors_of_data_follow(kind: PredictionType, path: Path) -> None:
    t, data, noise, x = somewhere(path)
    answer = kind.target(data, noise, path, t)
    found = kind.read(answer, x, path, t)
    torch.testing.assert_close(found.data, data, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(found.noise, noise, rtol=1e-6, atol=1e-6)
    moved = kind.read(answer + 1e-3, x, path, t).data - found.data
    torch.testing.assert_close(moved.abs(), (1e-3 * kind.slope(path, t)).expand_as(moved), rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("path", PATHS[:6], ids=lambda path: type(path).__name__)
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_a_loss_is_the_same_in_every_currency(weighting: object, path: Path) -> None:
    t, data, _noise, x = somewhere(path)
    guess = data + 0.1 * torch.sin(3 * x)  # of some network
    alpha, sigma = path(t)
    losses = []
    for kind in KINDS:
        answer, target = (
            kind.target(d, (x - alpha * d) / sigma, path, t) for d in (guess, data)
        )  # what networks of this kind say if they mean `guess`
        losses.append((weighting(path, t, kind) * (answer - target).square()).mean())  # type: ignore[operator]
    for loss in losses[1:]:
        assert float(loss) == pytest.approx(float(losses[0]), rel=1e-8)


def test_weights_have_their_published_forms() -> None:
    path, t = VariancePreserving(), torch.linspace(0.05, 0.95, 19, dtype=torch.float64)[:, None]
    ratio = snr(path, t)
    close = torch.testing.assert_close
    close(simple(path, t, predict_noise), torch.ones_like(t))
    close(min_snr(5)(path, t, predict_noise), ratio.clamp(max=5) / ratio)
    close(min_snr(5)(path, t, predict_v), ratio.clamp(max=5) / (ratio + 1))
    close(truncated_snr(path, t, predict_v), ratio.clamp(min=1) / (ratio + 1))
    close(p2(1.0, 1.0)(path, t, predict_noise), 1 / (1 + ratio))
    close(unit_variance(0.5)(path, t, preconditioned(0.5)), torch.ones_like(t))
    close(simple(Straight(), t, predict_velocity), (1 - t).square())  # and so velocity weighs the noise by 1/(1-t)^2
    step = 1e-6
    slope = (snr(path, t - step) - snr(path, t + step)) / (4 * step)  # -dSNR/dt / 2
    close(likelihood(path, t, predict_data), slope, rtol=1e-6, atol=0)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: type(path).__name__)
@pytest.mark.parametrize("weighting", [evenly, *WEIGHTINGS[2:]])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_finite_at_the_ends(kind: PredictionType, weighting: object, path: Path) -> None:
    for end in (path.least, 1.0):
        assert weighting(path, torch.full((1, 1), end), kind).isfinite().all()  # type: ignore[operator]


def test_inputs_and_targets_of_the_preconditioned_network_have_variance_one() -> None:
    n, kind = 100_000, preconditioned(0.5)
    data, noise = 0.5 * Noise(0, n).normal(1), Noise(1, n).normal(1)
    for path in (Plain(), VariancePreserving(), Straight()):
        for time in (0.001, 0.1, 0.5, 0.99):
            t = torch.full((1, 1), time)
            alpha, sigma = path(t)
            seen = kind.scale(path, t) * (alpha * data + sigma * noise)
            assert seen.var().item() == pytest.approx(1, abs=0.02)
            assert kind.target(data, noise, path, t).var().item() == pytest.approx(1, abs=0.02)


def test_a_preconditioned_answer_of_unit_deviation_is_minus_v_on_a_variance_preserving_path() -> None:
    path = VariancePreserving()
    t, data, noise, _ = somewhere(path)
    ours, v = (kind.target(data, noise, path, t) for kind in (preconditioned(1.0), predict_v))
    torch.testing.assert_close(ours, -v, rtol=0, atol=1e-9)


def test_times_of_noise_levels() -> None:
    device = torch.device("cpu")
    with seeded("times"):
        logs = (80 * log_normal()(20000, device)).log()
        assert from_least(0.1)(1000, device).min() >= 0.1
    assert logs.mean().item() == pytest.approx(-1.2, abs=0.02)
    assert logs.std().item() == pytest.approx(1.2, abs=0.02)


def test_transported_noise_is_a_cheaper_permutation() -> None:
    x, noise = Noise(0, 64).normal(2), Noise(1, 64).normal(2)
    paired = transported(x, noise, None)
    assert torch.equal(paired.sort(dim=0).values, noise.sort(dim=0).values)
    assert (x - paired).square().sum() < (x - independent(x, noise, None)).square().sum()
    line, other = Noise(0, 64).normal(1), Noise(1, 64).normal(1)
    order = transported(line, other, None)[line[:, 0].argsort()]
    assert torch.equal(order, other.sort(dim=0).values)  # in one dimension transport sorts


def test_labelled_examples_are_paired_within_their_class() -> None:
    x, noise, label = Noise(0, 40).normal(2), Noise(1, 40).normal(2), torch.arange(40) % 2
    paired = transported(x, noise, label)
    for c in (0, 1):
        mine = label == c
        assert torch.equal(paired[mine].sort(dim=0).values, noise[mine].sort(dim=0).values)


def test_transport_equals_pot() -> None:
    ot = pytest.importorskip("ot")
    x, noise = Noise(0, 32).normal(3, dtype=torch.float64), Noise(1, 32).normal(3, dtype=torch.float64)
    cost = torch.cdist(x, noise).square()
    theirs = 32 * float((ot.emd([], [], cost.numpy()) * cost.numpy()).sum())
    assert float((x - transported(x, noise, None)).square().sum()) == pytest.approx(theirs, rel=1e-9)


# -- guidance ----------------------------------------------------------------------------------------------------

MEANS, SHARES = torch.tensor([-1.0, 2.0], dtype=torch.float64), torch.tensor([0.3, 0.7], dtype=torch.float64)


def responsibilities(path: Path, x: Tensor, t: Tensor) -> Tensor:
    """[B, 2] log p(mode | x_t) of a mixture of two Gaussians of variance 0.25."""
    alpha, sigma = path(t.view(-1, 1))
    variance = alpha.square() * 0.25 + sigma.square()
    return (SHARES.log() - (x - alpha * MEANS).square() / (2 * variance)).log_softmax(dim=1)


def mixture(path: Path, x: Tensor, t: Tensor, *, label: Tensor | None, attributes: Tensor | None) -> Prediction:
    """Of the mode that is asked for, or of the mixture where the label is -1 or None."""
    modes = [exact_denoiser(path, float(mean), 0.25)(x, t) for mean in MEANS]
    weights = responsibilities(path, x, t).exp()
    if label is not None:
        asked = torch.nn.functional.one_hot(label.clamp(min=0), 2).double()
        weights = torch.where(label[:, None] >= 0, asked, weights)
    data, noise = (sum(weights[:, k : k + 1] * getattr(modes[k], part) for k in (0, 1)) for part in ("data", "noise"))
    return Prediction(data, noise)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", [Straight(), VariancePreserving(), VarianceExploding()])
@pytest.mark.parametrize("weight", [1.0, 3.0])
def test_a_classifier_guides_as_the_model_of_the_class_does(weight: float, path: Path) -> None:
    x, t = Noise(0, 20).normal(1, dtype=torch.float64), torch.linspace(0.1, 0.9, 20, dtype=torch.float64)
    label = torch.ones(20, dtype=torch.long)

    def denoise(x: Tensor, t: Tensor, *, label: Tensor | None, attributes: Tensor | None) -> Prediction:
        return mixture(path, x, t, label=label, attributes=attributes)

    free = classifier_free(denoise, 0.0, None, None)
    by_class = by_energy(free, lambda x, t: responsibilities(path, x, t)[:, 1], weight, path)(x, t)
    without = classifier_free(denoise, weight - 1, label, None)(x, t)
    torch.testing.assert_close(by_class.noise, without.noise, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(by_class.data, without.data, rtol=1e-6, atol=1e-8)


def test_guidance_may_stop_near_the_noise_and_be_scaled_back() -> None:
    Straight()
    x, t = Noise(0, 4).normal(6, dtype=torch.float64), torch.full((4,), 0.9, dtype=torch.float64)
    label = torch.tensor([0, 1, 0, 1])

    def denoise(x: Tensor, t: Tensor, *, label: Tensor | None, attributes: Tensor | None) -> Prediction:
        shift = 0.0 if label is None else torch.where(label >= 0, 1.0, 0.0)[:, None] * x
        data = x + shift
        return Prediction(data, (x - (1 - t[:, None]) * data) / t[:, None])

    plain, strong = (classifier_free(denoise, w, label, None)(x, t).data for w in (0.0, 4.0))
    assert torch.equal(classifier_free(denoise, 4.0, label, None, until=0.5)(x, t).data, plain)
    scaled = classifier_free(denoise, 4.0, label, None, rescale=1.0)(x, t).data
    assert strong.std() > 1.5 * plain.std()
    torch.testing.assert_close(scaled.std(dim=1), plain.std(dim=1))


def test_dynamic_thresholds_scale_and_static_ones_cut() -> None:
    path, x, t = Straight(), torch.zeros(2, 100), torch.full((2,), 0.5)
    wide = torch.stack([torch.linspace(-3, 3, 100), torch.linspace(-0.5, 0.5, 100)])

    def denoise(x: Tensor, t: Tensor) -> Prediction:
        return Prediction(wide, (x - 0.5 * wide) / 0.5)

    low, high = torch.full((100,), -1.0), torch.ones(100)
    cut, scaled = clipped(denoise, path, low, high)(x, t), dynamic(denoise, path, low, high, 0.995)(x, t)
    for answer in (cut, scaled):
        assert answer.data.abs().max() <= 1
        torch.testing.assert_close(0.5 * answer.data + 0.5 * answer.noise, x)
        torch.testing.assert_close(answer.data[1], wide[1])  # nothing to do
    assert (cut.data[0].abs() == 1).sum() > 60
    assert (scaled.data[0].abs() == 1).sum() <= 2


def test_strong_guidance_lands_where_the_gaussians_say() -> None:
    path, n = VariancePreserving(), 200
    label = torch.zeros(n, dtype=torch.long)

    def bells(x: Tensor, t: Tensor, *, label: Tensor | None, attributes: Tensor | None) -> Prediction:
        free, given = (exact_denoiser(path, mean, 0.25)(x, t) for mean in (1.0, 2.0))
        chosen = label[:, None] >= 0 if label is not None else torch.zeros(len(x), 1, dtype=torch.bool)
        return Prediction(*(torch.where(chosen, a, b) for a, b in zip(given[:2], free[:2], strict=True)))

    x = Noise(0, n).normal(1, dtype=torch.float64)
    guided = classifier_free(bells, 2.0, label, None)
    samples = solve(NoiseHeun(), guided, path, x, time_grid(400), Noise(0, n))
    assert samples.mean().item() == pytest.approx(4.0 + 0.5 * x.mean().item(), abs=0.02)
    assert samples.std().item() == pytest.approx(0.5 * x.std().item(), rel=0.02)
    assert math.isfinite(samples.sum().item())
