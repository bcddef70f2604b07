from __future__ import annotations

import math
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from exnihilo.core import Batch, DataSpec, GenerativeModel, ModelError, Noise, Prediction, create, seeded
from exnihilo.models.diffusion import ContinuousDiffusion, Diffusion
from exnihilo.models.diffusion.binomial import BinomialDiffusion
from exnihilo.models.diffusion.bound import level_terms
from exnihilo.models.diffusion.learned_variance import LearnedVariance
from exnihilo.models.diffusion.times import LossAware
from exnihilo.models.diffusion.variational import VariationalDiffusion, levels_log_prob
from exnihilo.models.diffusion.weightings import likelihood
from exnihilo.probability.learned_paths import LearnedBetas, LearnedSNR, NoiseLadder
from exnihilo.probability.paths import Path, VarianceExploding
from exnihilo.probability.schedules import Discrete, linear_betas
from exnihilo.probability.transitions import curves
from tests.models.test_diffusion import IMAGE, SPECS, VECTOR, OneSplit, fit, rough, some
from tests.probability.gaussian import exact_denoiser

NAMES = ("improved_ddpm", "diffusion_2015", "vdm", "ncsn", "score_sde", "edm")
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in NAMES),
    ("improved_ddpm", {"objective": "bound"}),
    ("score_sde", {"sde": "ve"}),
    ("score_sde", {"sde": "sub_vp", "weighting": "likelihood", "density": True}),
    ("edm", {"density": True}),
]
BITS = DataSpec("vector", (20,), levels=2, examples=5)


def entered(model: GenerativeModel, x: Tensor) -> GenerativeModel:
    for stage in model.stages():
        if stage.enter is not None:
            stage.enter(OneSplit(x))  # type: ignore[arg-type]
    return model


def knowing(model: Diffusion, mean: float, variance: float) -> Diffusion:
    """The model with the exact denoiser of N(mean, variance) in place of its own."""
    exact = exact_denoiser(model.path, mean, variance)
    model.denoise = lambda x, t, label=None, attributes=None: exact(x, t)  # type: ignore[method-assign,assignment]
    return model


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=str)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.kind}{spec.size}")
def test_recipes_take_every_kind(name: str, options: dict[str, Any], spec: DataSpec) -> None:
    batch = some(spec)
    model = rough(entered(create(name, spec, width=8, **options), batch.x), 0.03)
    for player in model.players():
        assert torch.stack([term for term in player.loss(batch).values() if term.requires_grad]).isfinite().all()
    assert all(term.isfinite() for term in model.validate(batch).values())
    samples = model.sample(3, seed=1, steps=3)
    assert samples.shape == (3, *spec.shape)
    assert samples.isfinite().all()


# -- learned variances ---------------------------------------------------------------------------------------------


def test_the_bound_teaches_each_level_its_best_variance() -> None:
    path, d, index = Discrete(linear_betas(50)), 0.25, torch.arange(2, 51)
    before, after = path.signal[1:-1], path.signal[2:]
    beta = 1 - after / before
    v = beta * (1 - before) / (1 - after)
    covariance = (1 - after) * d / (after * d + 1 - after)  # of data N(0, d) given x_t: what an exact mean is off by
    best = v + before * (beta / (1 - after)).square() * covariance
    off, fraction = covariance.sqrt()[:, None], nn.Parameter(torch.full((49, 1), 0.5, dtype=torch.float64))
    optimizer = torch.optim.Adam([fraction], lr=0.02)
    for _ in range(300):
        terms = level_terms(Prediction(torch.zeros_like(off), off, fraction), path, off, index, None)
        optimizer.zero_grad()
        (terms / (beta / v).log().square()).sum().backward()  # scaled alike, which moves no optimum
        optimizer.step()
    torch.testing.assert_close(fraction.data[:, 0], (best / v).log() / (beta / v).log(), rtol=0, atol=1e-3)
    ratio = path.signal / (1 - path.signal)  # the terms then add up to that of infinitely many levels
    exact = 0.5 * math.log((1 + ratio[1] * d) / (1 + ratio[-1] * d))
    assert terms.sum().item() == pytest.approx(exact, abs=1e-5)


def test_a_fraction_of_nought_is_the_posterior_and_of_one_is_beta() -> None:
    path, index = Discrete(linear_betas(50)), torch.tensor([2, 20, 50])
    x, data = torch.full((3, 1), 0.3, dtype=torch.float64), torch.full((3, 1), 0.1, dtype=torch.float64)
    plain = level_terms(Prediction(data, x), path, x, index, None)
    none = level_terms(Prediction(data, x, torch.zeros(3, 1).double()), path, x, index, None)
    torch.testing.assert_close(plain, none)
    before, after = path.signal[index - 1], path.signal[index]
    beta = 1 - after / before
    v, shift = beta * (1 - before) / (1 - after), before.sqrt() * beta / (1 - after) * 0.2
    exact = 0.5 * ((beta / v).log() + (v + shift.square()) / beta - 1)
    wide = level_terms(Prediction(data, x, torch.ones(3, 1).double()), path, x, index, None)
    torch.testing.assert_close(wide, exact)


def test_the_hybrid_teaches_the_mean_by_the_squared_error_alone() -> None:
    model = rough(create("improved_ddpm", IMAGE, width=8), 0.05)
    assert isinstance(model, LearnedVariance)
    answers: list[Tensor] = []
    model.network.register_forward_hook(lambda module, given, answer: answers.append(answer))
    for term, share in (("squared_error", (True, False)), ("bound", (False, True))):
        with seeded("hybrid"):
            value = model.loss(some(IMAGE))[term]
        (slope,) = torch.autograd.grad(value, answers[-1])
        assert tuple(bool(half.any()) for half in slope.chunk(2, dim=1)) == share
    x, t = torch.randn(3, *IMAGE.shape), torch.full((3,), 0.5)
    prediction = model.denoise(x, t)
    assert torch.equal(prediction.noise, answers[-1][:, :1])
    assert prediction.fraction is not None
    torch.testing.assert_close(prediction.fraction, (answers[-1][:, 1:] + 1) / 2)


def test_levels_that_cost_more_are_looked_at_more_and_nothing_is_biased() -> None:
    times, device = LossAware(20), torch.device("cpu")
    costs = torch.linspace(0.1, 4, 20).square()
    with seeded("aware"):
        even = (times(2000, device) * 20).round().long()
        assert torch.equal(even.bincount(), torch.tensor([0] + [100] * 20))
        for _ in range(10):
            times.record(torch.arange(1, 21), costs)
        index = (times(4000, device) * 20).round().long()
    torch.testing.assert_close(times.chances().float(), 0.999 * costs / costs.sum() + 0.001 / 20)
    assert index.min() >= 1
    estimates = times.weight(index) * costs[index - 1]
    assert estimates.mean().item() == pytest.approx(costs.mean().item(), rel=0.01)
    assert estimates.std() < 0.1 * costs[even - 1].std()
    times.record(torch.full((20,), 3), torch.full((20,), 9.0))  # the oldest of that level's 10 makes room
    assert (times.costs[2] == 9).sum() == 1
    assert not dict(times.state_dict())  # only a resume needs them


def test_costs_are_remembered_in_training_only() -> None:
    model = create("improved_ddpm", VECTOR, width=8, objective="bound")
    assert isinstance(model, LearnedVariance)
    assert isinstance(model.times, LossAware)
    entered(model, torch.randn(20, 2))
    model.eval()
    model.validate(some(VECTOR))
    assert int(model.times.seen.sum()) == 0
    model.train()
    model.loss(some(VECTOR))
    assert int(model.times.seen.sum()) == 6


def test_betas_are_learned_but_the_first() -> None:
    path = LearnedBetas(50, first=1e-3)
    betas = 1 - path.signal[1:] / path.signal[:-1]
    assert path.signal[0] == 1
    assert betas[0].item() == pytest.approx(1e-3)
    torch.testing.assert_close(betas[1:].float(), 1 / torch.linspace(50, 2, 50)[1:], rtol=1e-5, atol=0)
    model = create("diffusion_2015", IMAGE, width=8, levels=20)
    assert isinstance(model, LearnedVariance)
    before = cast(LearnedBetas, model.path).signal.detach().clone()
    fit(model, some(IMAGE, 16), 5)
    after = cast(LearnedBetas, model.path).signal.detach()
    assert torch.equal(before[:2], after[:2])
    assert (before[2:] != after[2:]).all()
    assert (after.diff() < 0).all()


# -- bits ----------------------------------------------------------------------------------------------------------


def heartbeats() -> Tensor:
    """The five sequences of 20 bits with a 1 in every fifth place: 2.322 bits."""
    return torch.stack([(torch.arange(20) % 5 == phase).float() for phase in range(5)])


class KnownBits(nn.Module):
    """Logits of p(x = 1 | x_t) over the five heartbeats, by Bayes' rule."""

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None, attributes: Tensor | None = None) -> Tensor:
        noisy, beats = (x + 1) / 2, heartbeats()
        one = 0.5 + (beats - 0.5) * (1 - t)[:, None, None]  # [B, 5, 20]
        log_share = torch.where(noisy[:, None] > 0.5, one, 1 - one).clamp(min=1e-30).log().sum(dim=2)
        return (log_share.softmax(dim=1) @ beats).clamp(1e-7, 1 - 1e-7).logit()


def binomial(network: nn.Module, levels: int, spec: DataSpec = BITS) -> BinomialDiffusion:
    model = BinomialDiffusion(network, levels)
    model.spec, model.recipe = spec, "binomial_diffusion"
    return model


def test_bits_are_forgotten_as_the_chain_of_their_levels_says() -> None:
    model, levels = binomial(KnownBits(), 7), 7
    one = torch.ones((), dtype=torch.float64)  # chance of x_i = 1 from x = 1, level by level
    for i in range(1, levels + 1):
        beta = 1 / (levels - i + 1)
        before, one = one, one * (1 - beta) + 0.5 * beta
        t = torch.tensor(i / levels, dtype=torch.float64)
        assert (0.5 + 0.5 * model.keep(t)).item() == pytest.approx(one.item())
        stay = 1 - beta / 2  # q(x_i = 1 | x_{i-1} = 1)
        for noisy in (0.0, 1.0):
            like_one, like_zero = (stay, 1 - stay) if noisy else (1 - stay, stay)
            exact = before * like_one / (before * like_one + (1 - before) * like_zero)
            found = model.posterior(torch.tensor(noisy).double(), torch.ones(()).double(), t - 1 / levels, t)
            assert found.item() == pytest.approx(exact.item())


def test_the_bound_of_heartbeats_is_above_their_entropy_and_nears_it_with_more_levels() -> None:
    x, bits = heartbeats().repeat(200, 1), []
    for levels in (5, 20, 80):
        cost = -binomial(KnownBits(), levels).log_prob_bound(x, k=levels) / math.log(2)
        assert cost.mean() > math.log2(5) - 3 * cost.std() / math.sqrt(len(x))
        bits.append(cost.mean().item())
    assert bits[0] > bits[1] + 0.1 > bits[2] + 0.2
    assert bits[2] < math.log2(5) + 0.3


def test_heartbeats_are_learned() -> None:
    model = create("binomial_diffusion", BITS, width=8, levels=40)
    fit(model, Batch(heartbeats().repeat(20, 1)), 300)
    x = heartbeats().repeat(200, 1)
    with torch.no_grad():
        bits = -model.log_prob_bound(x, k=40).mean().item() / math.log(2)
    assert math.log2(5) < bits < 3.1
    samples = model.sample(200, seed=0, steps=40)
    beats = (samples[:, None] == heartbeats()).all(dim=2).any(dim=1)
    assert beats.float().mean() > 0.7
    with pytest.raises(ModelError, match="levels=2"):
        create("binomial_diffusion", IMAGE)


# -- variational diffusion models ------------------------------------------------------------------------------------


def bent(path: LearnedSNR, scale: float = 1.0) -> LearnedSNR:
    """Another schedule between the same ends."""
    with torch.no_grad(), seeded("bent"):
        for weight in path.shape.parameters():
            weight.add_(scale * torch.randn_like(weight))
    return path


@pytest.mark.parametrize("path", [LearnedSNR(), bent(LearnedSNR()), NoiseLadder(40), VarianceExploding(high=None)])
def test_paths_that_training_changes_are_paths(path: Path) -> None:
    t = torch.linspace(0, 1, 201, dtype=torch.float64)
    with torch.no_grad():
        alpha, sigma = path(t)
        assert (alpha[0], sigma[0]) == (1, 0)
        assert ((alpha / sigma).diff()[1:] < 0).all()
        inner, step = torch.linspace(2 * path.least, 0.95, 50, dtype=torch.float64) + 3e-4, 1e-7
        for time in (inner, torch.tensor([path.least / 2], dtype=torch.float64)):
            for ahead, behind, slope in zip(path(time + step), path(time - step), path.slopes(time), strict=True):
                torch.testing.assert_close((ahead - behind) / (2 * step), slope, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(path.time_of(path.half_log_snr(inner)), inner, rtol=0, atol=1e-9)
        clock = path.clock(t)
        assert (clock.diff() >= 0).all()


def test_the_learned_schedule_keeps_its_variance_and_its_ends() -> None:
    path = bent(LearnedSNR())
    with torch.no_grad():
        t = torch.linspace(path.least, 1, 100, dtype=torch.float64)
        (alpha, sigma), (gamma, slope) = path(t), path.gamma(t)
        torch.testing.assert_close(alpha.square() + sigma.square(), torch.ones_like(t))
        torch.testing.assert_close((sigma / alpha).square().log(), gamma, rtol=1e-6, atol=1e-8)
        assert (slope > 0).all()
        assert gamma[[0, -1]].tolist() == pytest.approx([-13.3, 5], abs=1e-5)
        straight = LearnedSNR().gamma(t)[0]
    assert (gamma - straight).abs().max() > 0.5


@pytest.mark.parametrize("schedule", [LearnedSNR(), bent(LearnedSNR())])
def test_the_bound_in_continuous_time_knows_only_the_ends_of_the_schedule(schedule: LearnedSNR) -> None:
    d, mean, n = 0.25, 0.5, 4000
    model = cast(VariationalDiffusion, create("vdm", DataSpec("vector", (2,), examples=10), width=8))
    model.path = schedule
    model = knowing(model, mean, d)  # type: ignore[assignment]
    with torch.no_grad():
        u = (torch.arange(20000, dtype=torch.float64) + 0.5) / 20000  # all the diffusion term, on a fine grid
        t = schedule.least + (1 - schedule.least) * u
        (alpha, sigma), slope = schedule(t), schedule.gamma(t)[1] * (1 - schedule.least)
        whole = (slope / 2 * alpha.square() * d / (alpha.square() * d + sigma.square())).mean().item()
        assert whole == pytest.approx(5.95601, abs=2e-4)  # log[(1 + SNR_0 d) / (1 + SNR_1 d)] / 2
        x = mean + math.sqrt(d) * Noise(0, n).normal(2, dtype=torch.float64)
        bound = model.log_prob_bound(x, k=8)
        a1, s1 = curves(schedule, 1.0)
    prior = 0.5 * (a1**2 * (d + mean**2) + s1**2 - 1) - math.log(s1)
    exact = -2 * (0.5 * math.log(2 * math.pi * math.e * d) + prior)
    assert bound.mean().item() == pytest.approx(exact, abs=5 * bound.std().item() / math.sqrt(n))
    assert bound.std().item() / math.sqrt(n) < 0.1


def test_the_schedule_learns_to_make_the_estimates_vary_less() -> None:
    model = cast(VariationalDiffusion, create("vdm", DataSpec("vector", (32,), examples=10), width=8))
    knowing(model, 0.0, 1.0)
    batch = Batch(Noise(0, 500).normal(32))
    denoiser, schedule = model.players()
    ends = [end.item() for end in model.path.ends]
    names = {
        name for name, weight in model.path.named_parameters() if any(weight is w for w in schedule.module.parameters())
    }
    assert names == {"shape.line", "shape.steep", "shape.middle", "shape.weight"}
    assert not set(schedule.module.parameters()) & set(denoiser.module.parameters())

    def moments() -> tuple[float, float]:
        with seeded("moments"), torch.no_grad():
            estimates = model._diffusion_of(batch.x, batch)
        return estimates.mean().item(), estimates.std().item()

    before, optimizer = moments(), torch.optim.Adam(schedule.module.parameters(), lr=0.05)
    with seeded("schedule"):
        for _ in range(60):
            optimizer.zero_grad()
            schedule.loss(batch)["second_moment"].backward()
            optimizer.step()
    after = moments()
    assert after[1] < 0.6 * before[1]  # what is left is that of the noise
    assert after[0] == pytest.approx(before[0], rel=0.1)
    assert [end.item() for end in model.path.ends] == ends


def test_levels_given_what_is_left_at_time_0_sum_to_one() -> None:
    spec = DataSpec("image", (1, 1, 1), levels=17)
    x = spec.from_levels(torch.arange(17)).view(-1, 1, 1, 1)
    seen, wide, narrow = torch.full_like(x, 0.13), torch.tensor(-3.0), torch.tensor(-13.3)
    assert levels_log_prob(x, seen, wide, spec).exp().sum().item() == pytest.approx(1, abs=1e-6)
    near = levels_log_prob(x, x + 0.003, narrow, spec)
    torch.testing.assert_close(near, torch.zeros(17), rtol=0, atol=1e-6)


def test_terms_of_the_bound_are_its_parts() -> None:
    model = rough(create("vdm", IMAGE, width=8), 0.02)
    batch = Batch(some(IMAGE, 200).x)
    with torch.no_grad(), seeded("parts"):
        parts = model.loss(batch)
        bits = -model.log_prob_bound(batch.x, k=16) / (63 * math.log(2))
    assert set(parts) == {"prior", "diffusion", "reconstruction"}
    whole = torch.stack(list(parts.values())).sum().item()
    assert whole == pytest.approx(bits.mean().item(), rel=0.25)


# -- scores ----------------------------------------------------------------------------------------------------------


def test_the_ladder_has_equal_ratios_from_the_largest_distance_down() -> None:
    x = torch.randn(50, 1, 9, 7)
    model = cast(Diffusion, entered(create("ncsn", IMAGE, width=8, levels=20), x))
    sigma = model.path(torch.arange(1, 21, dtype=torch.float64) / 20)[1]
    assert sigma[-1].item() == pytest.approx(torch.cdist(x.flatten(1), x.flatten(1)).max().item(), rel=1e-5)
    assert sigma[0].item() == pytest.approx(0.01)
    ratios = sigma[1:] / sigma[:-1]
    torch.testing.assert_close(ratios, ratios[:1].expand(19))
    assert "path.high" in model.state_dict()
    t = torch.full((3,), 0.05)
    torch.testing.assert_close(model.score(x[:3]), -model.denoise(x[:3], t).noise / 0.01)


@pytest.mark.parametrize("sde", ["vp", "sub_vp", "ve"])
def test_the_density_of_an_exact_score_is_exact(sde: str) -> None:
    model = cast(ContinuousDiffusion, create("score_sde", DataSpec("vector", (3,), examples=10), width=8, sde=sde))
    model = cast(ContinuousDiffusion, knowing(model, 0.5, 0.25))
    x = 0.5 + 0.5 * Noise(0, 20).normal(3, dtype=torch.float64)
    alpha, sigma = curves(model.path, model.path.least)
    spread = alpha**2 * 0.25 + sigma**2  # that of the data with the smallest noise
    at_least = -0.5 * ((x - alpha * 0.5).square() / spread + math.log(2 * math.pi * spread)).sum(dim=1)
    torch.testing.assert_close(model.log_prob(x), at_least, rtol=0, atol=0.1 if sde == "ve" else 0.02)  # of 24 steps


def test_likelihood_weights_the_score_by_the_square_of_the_diffusion() -> None:
    for sde in ("vp", "sub_vp", "ve"):
        model = cast(ContinuousDiffusion, create("score_sde", VECTOR, width=8, sde=sde, weighting="likelihood"))
        t = torch.linspace(0.05, 0.9, 20, dtype=torch.float64)[:, None]
        sigma, power = model.path(t)[1], model.path.drift(t)[1]
        torch.testing.assert_close(
            model.weighting(model.path, t, model.prediction), power / (2 * sigma.square()), rtol=1e-6, atol=0
        )
        assert model.weighting is likelihood


def test_edm_weighs_its_answers_alike_and_calls_the_network_as_often_as_said() -> None:
    model = cast(ContinuousDiffusion, create("edm", IMAGE, width=8))
    t = torch.linspace(0.001, 1, 50, dtype=torch.float64)[:, None]
    weights = model.weighting(model.path, t, model.prediction)
    torch.testing.assert_close(weights, torch.ones_like(t))
    called: list[int] = []
    model.network.register_forward_hook(lambda module, given, answer: called.append(1))
    model.sample(2, seed=0, solver="heun", spacing="karras", steps=18)
    assert len(called) == 35
