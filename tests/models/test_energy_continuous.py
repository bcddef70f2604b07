"""Energies and scores that networks learn, against Gaussians, grids and enumerations."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from exnihilo.core import Batch, Conditions, DataSpec, ModelError, Noise, OptionError, create
from exnihilo.models.classical.mixture import FittedMixture
from exnihilo.models.energy import DeepEnergyModel, JointEnergyModel, NoiseContrastive, Replay, ScoreModel, scores
from exnihilo.models.energy.zoo.continuous import dynamics_for
from exnihilo.probability.chains import TorchChance, run_chain

PLANE = DataSpec("vector", (2,))
CLASSED = DataSpec("vector", (2,), classes=2, class_names=("left", "right"), class_shares=(0.5, 0.5))
DIGITS = DataSpec("image", (1, 8, 8), levels=17)
COVARIANCE = torch.tensor([[1.0, 0.6, 0.0], [0.6, 0.8, -0.2], [0.0, -0.2, 0.5]], dtype=torch.float64)


class Examples:
    """The little of `Data` that `enter` asks for."""

    def __init__(self, x: Tensor):
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, k: int, size: int, seed: int) -> Batch:
        return Batch(self.x[:size])

    def first(self, n: int | None = None) -> Batch:
        return Batch(self.x[:n])


def correlated(n: int, seed: int = 0) -> Tensor:
    """[n, 3] from N(0, COVARIANCE)."""
    return Noise(seed, n).normal(3, dtype=torch.float64) @ torch.linalg.cholesky(COVARIANCE).T


def fit(model: Any, batches: Any, steps: int, rate: float) -> None:
    """A few steps of Adam on fresh batches, the rate falling."""
    optimizer = torch.optim.Adam(model.parameters(), rate, betas=(0.0, 0.99))
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
        optimizer.zero_grad()
        torch.stack(list(model.loss(batches()).values())).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


class Function(nn.Module):
    """A function in the place of a network."""

    def __init__(self, function: Any):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


# -- the buffer of chains --------------------------------------------------------------------------------------------


def test_chains_have_their_turn_and_some_begin_anew() -> None:
    torch.manual_seed(0)
    replay = Replay(10, 3, fresh=0.0)
    replay.fill(torch.zeros(5, 3))
    assert replay.chains.std() > 0.5
    seen = []
    for turn in range(5):
        start = replay.start(torch.zeros(4, 3))
        seen += replay.rows(4).tolist()
        replay.keep(torch.full_like(start, float(turn)))
    assert seen == [row % 10 for row in range(20)]
    assert sorted(replay.chains[:, 0].tolist()) == [2.0] * 2 + [3.0] * 4 + [4.0] * 4
    assert not replay.state_dict()  # only a resume needs them
    assert set(dict(replay.named_buffers())) == {"chains", "place"}

    replay = Replay(4096, 2, fresh=0.05)
    replay.chains.fill_(100.0)
    begun = replay.start(torch.zeros(4096, 2))[:, 0] < 50
    assert float(begun.float().mean()) == pytest.approx(0.05, abs=0.015)


def test_the_loss_moves_chains_and_validation_does_not() -> None:
    torch.manual_seed(0)
    model = create("ebm", PLANE, width=8, steps=2, chains=64)
    assert isinstance(model, DeepEnergyModel)
    x = torch.randn(16, 2)
    model.initialise(Examples(x))  # type: ignore[arg-type]
    before = model.negative.chains.clone()
    assert set(model.validate(Batch(x))) == {"denoising"}
    assert torch.equal(model.negative.chains, before)
    model.loss(Batch(x))["gap"].backward()
    moved = (model.negative.chains != before).any(dim=1)
    assert 8 < int(moved[:16].sum()) <= 16  # some steps are rejected
    assert not moved[16:].any()


# -- energies --------------------------------------------------------------------------------------------------------


def quadratic(spec: DataSpec, more: float) -> DeepEnergyModel:
    """f(x) = more |x|^2 / 2 over a Gaussian with other means and scales than 0 and 1."""
    model = create("ebm", spec, width=8)
    assert isinstance(model, DeepEnergyModel)
    model.network = Function(lambda x: 0.5 * more * x.flatten(1).square().sum(dim=1, keepdim=True))
    model.mean.fill_(0.5)
    model.scale.fill_(2.0)
    return model


def exact_log_z(size: int, more: float) -> float:
    """Of exp(-(x - 1/2)^2 / 8 - more x^2 / 2), in every entry."""
    precision = 0.25 + more
    each = 0.5 * math.log(2 * math.pi / precision) - 0.5 * 0.25 * 0.25 + 0.5 * (0.125**2) / precision
    return size * each


def test_the_validation_figure_is_least_for_the_density_of_the_data() -> None:
    torch.manual_seed(0)
    sigma, found = 0.5, {}
    u = (1 - sigma**2) ** 0.5 * torch.randn(20_000, 2)  # so that it is N(0, 1) when blurred, the model with f = 0
    for more in (-0.1, 0.0, 0.1):
        model = quadratic(PLANE, more)
        model.noise = sigma
        torch.manual_seed(1)  # as the trainer does
        found[more] = float(model.validate(Batch(model.from_state(u)))["denoising"])
    assert found[0.0] == pytest.approx(1 - sigma**2, abs=0.02)
    assert found[0.0] < min(found[-0.1], found[0.1])


@pytest.mark.parametrize(("size", "method"), [(1, "grid"), (2, "auto"), (2, "ais"), (5, "auto")])
def test_log_partition_of_a_gaussian(size: int, method: Any) -> None:
    model = quadratic(DataSpec("vector", (size,)), 0.7)
    estimate = model.log_partition(method, temperatures=100, step=0.4)
    exact = exact_log_z(size, 0.7)
    assert estimate.value == pytest.approx(exact, abs=1e-3 if math.isinf(estimate.effective) else 0.1)
    assert estimate.low - 1e-3 <= exact <= estimate.high + 1e-3


def test_samples_and_gaps_follow_the_density() -> None:
    model = quadratic(PLANE, 0.7)
    x = model.sample(500, seed=0, steps=120)
    assert float(x.mean()) == pytest.approx(0.125 / 0.95, abs=0.15)
    assert float(x.var()) == pytest.approx(1 / 0.95, rel=0.15)
    torch.testing.assert_close(model.score(x), -(x - 0.5) / 4 - 0.7 * x, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kernel", ["langevin", "hmc"])
def test_gaps_are_filled_given_what_is_known(kernel: Any) -> None:
    model = create("ebm", PLANE, kernel=kernel, step=0.05)
    assert isinstance(model, DeepEnergyModel)
    model.network = Function(lambda x: 2 * (x[:, :1] - x[:, 1:]).square())
    n = 500  # E = (u1^2 + u2^2) / 2 + 2 (u1 - u2)^2, so u2 given u1 is N(0.8 u1, 0.2)
    known, mask = torch.tensor([2.0, -5.0]).expand(n, 2), torch.tensor([True, False]).expand(n, 2)
    drawn = model.impute(known, mask, steps=150)
    assert torch.equal(drawn[:, 0], known[:, 0])
    assert float(drawn[:, 1].mean()) == pytest.approx(1.6, abs=0.08)
    assert float(drawn[:, 1].var()) == pytest.approx(0.2, rel=0.25)


@pytest.mark.parametrize("kernel", ["langevin", "mala", "hmc"])
def test_no_chain_runs_away_from_a_steep_energy(kernel: Any) -> None:
    chain = dynamics_for(PLANE, kernel, 0.01)(lambda u: 5000 * u.square().sum(dim=1))
    x = run_chain(chain, torch.randn(50, 2), 100, TorchChance())
    assert float(x.abs().max()) < 5


def test_an_energy_of_two_modes_is_learned() -> None:
    torch.manual_seed(0)
    model = create("ebm", PLANE, width=32, steps=2, step=0.05, chains=512)
    assert isinstance(model, DeepEnergyModel)

    def batch() -> Batch:
        sides = torch.randint(2, (128, 1)) * 2.0 - 1
        return Batch(torch.cat([sides, torch.zeros(128, 1)], dim=1) + 0.25 * torch.randn(128, 2))

    x = batch().x
    model.initialise(Examples(x))  # type: ignore[arg-type]

    def nats() -> float:
        return float(model.energy(x).mean().detach()) + model.log_partition().value

    gaussian = nats()
    fit(model, batch, 250, 5e-3)
    entropy = math.log(2) + 2 * math.log(0.25) + 1 + math.log(2 * math.pi)
    assert gaussian > entropy + 0.6
    assert nats() < entropy + 0.35
    right = (model.sample(200, seed=0, steps=200)[:, 0] > 0).float().mean()
    assert 0.3 < float(right) < 0.7


def test_spectral_normalisation_happens_once_an_update() -> None:
    torch.manual_seed(0)
    model = create("ebm", PLANE, width=8, spectral_norm=True, steps=3)
    model.train()
    assert isinstance(model, DeepEnergyModel)
    model.loss(Batch(torch.randn(8, 2)))["gap"].backward()
    gradients = [weight.grad for weight in model.network.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients[:-1])


# -- with classes ----------------------------------------------------------------------------------------------------


def joint() -> JointEnergyModel:
    torch.manual_seed(0)
    model = create("jem", CLASSED, width=16, steps=2, chains=256)
    assert isinstance(model, JointEnergyModel)
    return model


def test_logits_are_one_joint_density() -> None:
    model, u = joint(), torch.randn(6, 2)
    both = [model.asked_energy(Conditions(label=torch.full((6,), label)))(u) for label in (0, 1)]
    joint_energy = torch.stack(both, dim=1)  # -log p(x, y) up to a constant
    torch.testing.assert_close((-joint_energy).logsumexp(dim=1), -model.state_energy(u))
    torch.testing.assert_close((-joint_energy).log_softmax(dim=1), model.classify(model.from_state(u)))
    unknown = model.asked_energy(Conditions(label=torch.full((6,), -1)))(u)
    torch.testing.assert_close(unknown, model.state_energy(u))


def test_unknown_labels_do_not_count() -> None:
    model, x = joint(), torch.randn(8, 2)
    model.initialise(Examples(x))  # type: ignore[arg-type]
    assert model.loss(Batch(x, label=torch.full((8,), -1)))["classes"] == 0
    assert model.loss(Batch(x, label=torch.zeros(8, dtype=torch.int64)))["classes"] > 0


def test_classes_are_told_and_drawn() -> None:
    model = joint()

    def batch() -> Batch:
        label = torch.randint(2, (64,))
        x = torch.stack([label * 2.0 - 1, torch.zeros(64)], dim=1) + 0.3 * torch.randn(64, 2)
        return Batch(x, label=label)

    seen = batch()
    model.initialise(Examples(seen.x))  # type: ignore[arg-type]
    fit(model, batch, 200, 5e-3)
    assert float((model.classify(seen.x).argmax(dim=1) == seen.label).float().mean()) > 0.95
    for name, sign in (("left", -1), ("right", 1)):
        drawn = model.sample(100, seed=0, label=name, steps=150)[:, 0] * sign
        assert float((drawn > 0).float().mean()) > 0.85


# -- score matching --------------------------------------------------------------------------------------------------

SIGMA = 0.5


@pytest.mark.parametrize("name", ["implicit", "denoising", "sliced", "sliced_vr"])
def test_every_matching_finds_the_precision_of_a_blurred_gaussian(name: str) -> None:
    """s = -L y: the minimiser is L = (S + sigma^2)^-1."""
    torch.manual_seed(0)
    x, matching = correlated(10_000), getattr(scores, name)
    sigma = torch.full((len(x),), SIGMA, dtype=torch.float64)
    epsilon = torch.randn_like(x)
    precision = torch.eye(3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([precision], max_iter=40, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        with torch.random.fork_rng():
            torch.manual_seed(1)  # the same directions at every look
            loss = matching(lambda y: -y @ precision.T, x, epsilon, sigma).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    found = torch.linalg.inv((x + SIGMA * epsilon).T.cov(correction=0))
    exact = torch.linalg.inv(COVARIANCE + SIGMA**2 * torch.eye(3, dtype=torch.float64))
    mean = (x + SIGMA * epsilon).mean(dim=0).abs().max()
    assert mean < 0.05
    tolerance = 0.01 if name == "implicit" else 0.12  # the first has this minimum on these very examples
    torch.testing.assert_close(precision.detach(), found, atol=tolerance, rtol=0)
    torch.testing.assert_close(precision.detach(), exact, atol=0.12, rtol=0)


def curved_score(y: Tensor) -> Tensor:
    """Some score-like function whose Jacobian is no constant and not symmetric."""
    return torch.stack([y[:, 0] * y[:, 1], torch.sin(y[:, 2]) - y[:, 1], y[:, 0] - y[:, 2] ** 3], dim=1)


def test_slices_average_to_the_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    directions = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3)), dtype=torch.float64)
    monkeypatch.setattr(scores, "signs", lambda like: directions)
    x = torch.tensor([[0.3, -0.7, 1.1]], dtype=torch.float64).expand(8, 3)
    sigma, epsilon = torch.full((8,), 0.2).double(), torch.ones(8, 3).double()
    whole = scores.implicit(curved_score, x, epsilon, sigma)
    for slices in (scores.sliced, scores.sliced_vr):
        each = slices(curved_score, x, epsilon, sigma)
        assert float(each.detach().std()) > 0.01
        torch.testing.assert_close(each.mean(), whole[0])
    y = x[0] + 0.2
    trace = float(y[1] - 1 - 3 * y[2] ** 2)
    exact = trace + 0.5 * float(curved_score(y[None]).square().sum())
    assert float(whole[0]) == pytest.approx(exact)


def test_implicit_is_explicit_up_to_a_constant() -> None:
    """On a grid: E[|s|^2 / 2 + s'] - E[|s - (log p)'|^2 / 2] is the same for two scores s."""
    line = torch.linspace(-9, 9, 2001, dtype=torch.float64)[:, None]
    p = (-0.5 * line.square()).exp()[:, 0]
    p = p / p.sum()
    nothing = torch.zeros(len(line), dtype=torch.float64)
    gaps = []
    for score in (lambda y: -torch.tanh(y), lambda y: -0.4 * y + 0.2 * torch.sin(2 * y)):
        hidden = scores.implicit(score, line, torch.zeros_like(line), nothing)
        shown = scores.half_square(score(line) + line)
        gaps.append(float((p * (hidden - shown)).sum()))
    assert gaps[0] == pytest.approx(gaps[1], abs=1e-6)
    assert gaps[0] == pytest.approx(-0.5, abs=1e-6)  # -E[((log p)')^2] / 2


def test_it_starts_as_the_score_of_a_gaussian_and_knows_its_ladder() -> None:
    torch.manual_seed(0)
    model = create("score_matching", PLANE, width=4, levels=30, smallest=0.1)
    assert isinstance(model, ScoreModel)
    x = 2 + 3 * torch.randn(500, 2)
    model.settle(Examples(x))  # type: ignore[arg-type]
    sigma = torch.tensor([0.5]).expand(500)
    d2 = (x - x.mean(dim=0)).square().mean()
    torch.testing.assert_close(model.score_at(x, sigma), -(x - x.mean(dim=0)) / (d2 + 0.25), atol=1e-5, rtol=1e-4)
    ratios = model.sigmas[:-1] / model.sigmas[1:]
    torch.testing.assert_close(ratios, ratios[:1].expand(29))
    assert float(model.sigmas[-1]) == pytest.approx(0.1)
    assert float(model.sigmas[0]) == pytest.approx(float(torch.cdist(x, x).max()), rel=0.3)
    samples = model.sample(1000, seed=0, steps=20)
    assert float(samples.std(dim=0).mean()) == pytest.approx(3, rel=0.15)


@pytest.mark.parametrize("method", ["denoising", "sliced_vr"])
def test_the_score_of_a_correlated_gaussian_is_learned(method: Any) -> None:
    torch.manual_seed(0)
    covariance = COVARIANCE[:2, :2].float()
    factor = torch.linalg.cholesky(covariance).T
    model = create("score_matching", PLANE, width=4, method=method, levels=3, smallest=0.3, largest=2.0)
    assert isinstance(model, ScoreModel)
    model.settle(Examples(torch.randn(2000, 2) @ factor))  # type: ignore[arg-type]
    fit(model, lambda: Batch(torch.randn(256, 2) @ factor), 250, 3e-3)
    x = torch.randn(500, 2) @ factor
    exact = -x @ torch.linalg.inv(covariance + 0.09 * torch.eye(2))
    error = (model.score(x).detach() - exact).square().mean() / exact.square().mean()
    assert float(error) < 0.02


def test_what_cannot_be_matched_is_refused() -> None:
    with pytest.raises(OptionError, match=r"at most 128 .* these data have 784"):
        create("score_matching", DataSpec("image", (1, 28, 28), levels=256), method="implicit")
    with pytest.raises(OptionError, match="smallest"):
        create("score_matching", PLANE, smallest=0)
    with pytest.raises(OptionError, match="largest"):
        create("score_matching", PLANE, largest=-1.0)
    with pytest.raises(OptionError, match=r"largest=0\.1 to smallest=0\.2"):
        create("score_matching", PLANE, smallest=0.2, largest=0.1)
    assert create("score_matching", PLANE, levels=1, smallest=0.2).sigmas.tolist() == pytest.approx([0.2])


# -- contrast to noise -----------------------------------------------------------------------------------------------


class Quadratic(nn.Module):
    """f(x) = x^T L x / 2 + log q(x), so that p is a Gaussian whose constant is known."""

    def __init__(self, reference: FittedMixture, precision: Tensor):
        super().__init__()
        self.reference, self.precision = reference, nn.Parameter(precision)

    def forward(self, x: Tensor) -> Tensor:
        log_q = self.reference.density.log_prob(x.double()).to(x.dtype)
        return (0.5 * (x @ self.precision * x).sum(dim=1) + log_q)[:, None]


def contrasted(precision: Tensor) -> NoiseContrastive:
    size = len(precision)
    reference = FittedMixture(size, 1)
    with torch.no_grad():
        reference.factors.mul_(1.5)
    model = NoiseContrastive(Quadratic(reference, precision), reference, ratio=5)
    model.spec, model.recipe = DataSpec("vector", (size,)), "nce"
    return model


def test_the_learned_constant_is_log_z() -> None:
    torch.manual_seed(0)
    model, x = contrasted(torch.eye(3)), correlated(20_000).float()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=30, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            loss = torch.stack(list(model.loss(Batch(x)).values())).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    exact = 0.5 * float(torch.linalg.slogdet(2 * math.pi * COVARIANCE).logabsdet)
    assert float(model.log_z.detach()) == pytest.approx(exact, abs=0.05)
    estimate = model.log_partition(draws=20_000)
    assert abs(estimate.value) < 0.05
    assert estimate.low - 0.05 < 0 < estimate.high + 0.05
    close = torch.distributions.MultivariateNormal(torch.zeros(3), COVARIANCE.float())
    torch.testing.assert_close(-model.energy(x[:200]), close.log_prob(x[:200]), atol=0.25, rtol=0)


def known_contrast() -> NoiseContrastive:
    model = contrasted(torch.linalg.inv(COVARIANCE[:2, :2]).float())
    with torch.no_grad():
        model.log_z.fill_(0.5 * float(torch.linalg.slogdet(2 * math.pi * COVARIANCE[:2, :2]).logabsdet))
    return model


@pytest.mark.parametrize("options", [{"candidates": 100, "steps": 0}, {"candidates": 2, "steps": 20}])
def test_resampled_and_moved_samples_follow_p(options: dict[str, int]) -> None:
    model, n = known_contrast(), 1500
    x = model.sample(n, seed=0, **options)
    torch.testing.assert_close(x.T.cov(), COVARIANCE[:2, :2].float(), atol=0.15, rtol=0)
    alone = model.sample(1, seed=Noise(0, [7]), **options)
    torch.testing.assert_close(alone, x[7:8], atol=1e-3, rtol=1e-3)
    assert abs(model.log_partition(draws=5000).value) < 0.05


def test_gaps_are_filled_by_weighted_conditionals() -> None:
    model, n = known_contrast(), 2000
    x = torch.tensor([1.0, 0.0]).expand(n, 2)
    mask = torch.tensor([True, False]).expand(n, 2)
    filled = model.impute(x, mask, candidates=64)
    assert torch.equal(filled[:, 0], x[:, 0])
    assert float(filled[:, 1].mean()) == pytest.approx(0.6, abs=0.06)
    assert float(filled[:, 1].var()) == pytest.approx(0.44, rel=0.15)


# -- what they are asked for -----------------------------------------------------------------------------------------


def test_refusals_say_what_to_do() -> None:
    with pytest.raises(ModelError, match=r"jem needs labels.*ebm"):
        create("jem", PLANE)
    with pytest.raises(ModelError, match="one class only"):
        create("jem", DataSpec("vector", (2,), classes=1, class_names=("a",), class_shares=(1.0,)))
    text = DataSpec("text", (8,), levels=256, tokens="bytes")
    for name in ("ebm", "jem", "score_matching", "nce"):
        with pytest.raises(ModelError, match="slope"):
            create(name, text)


def test_capabilities() -> None:
    assert set(create("ebm", DIGITS).capabilities) == {"sample", "energy", "score", "impute"}
    assert set(joint().capabilities) == {"sample", "energy", "score", "impute", "classify"}
    assert set(create("score_matching", DIGITS).capabilities) == {"sample", "score", "impute"}
    assert set(create("nce", DIGITS).capabilities) == {"sample", "energy", "score", "impute"}
