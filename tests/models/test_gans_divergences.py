"""f-divergences as objectives: conjugates, composites, known values, bounds that hold, thresholds that tell."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from exnihilo.core import DataSpec, OptionError, create, seeded
from exnihilo.models.gans.divergences import (
    Divergence,
    alpha,
    divergence_table,
    divergences,
    hellinger,
    jensen_shannon,
    kl,
    log_softplus,
    neyman,
    pearson,
    reverse_kl,
    weighted_jensen_shannon,
    wright_omega_log,
)
from exnihilo.models.gans.objectives import minimax
from exnihilo.nets.mlp import MLP

REAL = torch.tensor([1.2, -0.3, 0.5], dtype=torch.float64)
FAKE = torch.tensor([-0.7, 0.1, 0.9], dtype=torch.float64)

ROWS = divergences()
EXTRA = {
    "alpha -1": alpha(-1.0),
    "alpha 0.5": alpha(0.5),
    "alpha 2": alpha(2.0),
    "share 0.6": weighted_jensen_shannon(0.6),
}
every_row = pytest.mark.parametrize("row", [*ROWS.values(), *EXTRA.values()], ids=[*ROWS, *EXTRA])

#: Densities on a fine line, so that integrals are sums.
X = torch.linspace(-12, 13, 25_001, dtype=torch.float64)
STEP = float(X[1] - X[0])


def normal(mean: float, deviation: float) -> Tensor:
    return torch.exp(-0.5 * ((X - mean) / deviation) ** 2) / (deviation * math.sqrt(2 * math.pi))


def mixture(*parts: tuple[float, float, float]) -> Tensor:
    return torch.stack([share * normal(mean, deviation) for share, mean, deviation in parts]).sum(dim=0)


def value(row: Divergence, p: Tensor, q: Tensor) -> float:
    """E_q f(p / q) by quadrature."""
    return float((q * row.generator(p / q)).sum() * STEP)


# -- the rows --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "critic", "generator"),
    [
        ("total_variation", -0.132144, -0.035266),
        ("kl", 0.031364, -0.498030),
        ("reverse_kl", -0.147472, 0.9),
        ("pearson", -0.2575, -0.209167),
        ("neyman", -0.252756, 0.005283),
        ("hellinger", 0.106314, -0.353786),
        ("jeffrey", -0.244620, -0.222046),
        ("jensen_shannon", -0.059477, -0.103098),
        ("weighted_jensen_shannon", 0.044880, 0.124500),
        ("gan", 1.326817, -0.796246),
    ],
)
def test_rows_have_their_golden_values(name: str, critic: float, generator: float) -> None:
    objective = ROWS[name].objective()
    assert objective.critic(REAL, FAKE).item() == pytest.approx(critic, abs=1e-5)
    assert objective.generator(FAKE, None).item() == pytest.approx(generator, abs=1e-5)
    assert set(ROWS) - {"alpha"} == {
        "total_variation", "kl", "reverse_kl", "pearson", "neyman", "hellinger", "jeffrey", "jensen_shannon",
        "weighted_jensen_shannon", "gan",
    }  # fmt: skip


@every_row
def test_fenchels_equality_holds_at_the_slope(row: Divergence) -> None:
    u = torch.logspace(-3, 2, 200, dtype=torch.float64)
    u = u[(u - 1).abs() > 1e-3]  # total variation has a corner there
    t = row.slope(u)
    torch.testing.assert_close(u * t - row.conjugate(t), row.generator(u), atol=1e-10, rtol=1e-10)


@every_row
def test_the_conjugate_is_the_supremum(row: Divergence) -> None:
    u = torch.logspace(-8, 4, 48_001, dtype=torch.float64)  # 1, where total variation has its corner, among them
    t = row.activation(torch.linspace(-2.5, 2.5, 11, dtype=torch.float64))
    assert ((t > row.domain[0]) & (t < row.domain[1])).all()
    supremum = (u[:, None] * t - row.generator(u)[:, None]).amax(dim=0)
    torch.testing.assert_close(row.conjugate(t), supremum, atol=2e-5, rtol=2e-5)


@every_row
def test_composites_are_the_conjugate_of_the_activation(row: Divergence) -> None:
    v = torch.linspace(-6, 6, 241, dtype=torch.float64, requires_grad=True)
    chained = row.conjugate(row.activation(v))
    torch.testing.assert_close(row.composite(v), chained, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(
        torch.autograd.grad(row.composite(v).sum(), v)[0],
        torch.autograd.grad(chained.sum(), v)[0],
        atol=1e-6,
        rtol=1e-5,
    )
    torch.testing.assert_close(row.composite(v.float()).double(), chained, atol=1e-4, rtol=1e-4)
    assert (row.activation(v).diff() >= 0).all()  # a larger score means more real


@every_row
def test_large_scores_keep_finite_values_and_slopes(row: Divergence) -> None:
    v = torch.tensor([-40.0, -15.0, 15.0, 40.0], requires_grad=True)
    for function in (row.activation, row.composite):
        out = function(v)
        assert out.isfinite().all()
        assert torch.autograd.grad(out.sum(), v)[0].isfinite().all()


@every_row
def test_a_critic_above_the_threshold_says_real(row: Divergence) -> None:
    u = torch.tensor([0.2, 0.9, 1.1, 5.0], dtype=torch.float64)
    assert ((row.slope(u) > row.threshold) == (u > 1)).all()
    low, high = row.domain
    assert low <= row.threshold <= high


def test_lamberts_function_comes_without_its_exponential() -> None:
    from scipy.special import lambertw

    y = torch.tensor([-30.0, -3.0, 0.0, 1.0, 5.0, 300.0], dtype=torch.float64, requires_grad=True)
    w = wright_omega_log(y).exp()
    expected = torch.tensor([lambertw(math.exp(v)).real for v in y.tolist()], dtype=torch.float64)
    torch.testing.assert_close(w, expected, rtol=1e-12, atol=0)
    (slope,) = torch.autograd.grad(ROWS["jeffrey"].conjugate(1 - y).sum(), y)
    torch.testing.assert_close(slope, -1 / expected, rtol=1e-9, atol=0)
    softplus_of = [math.log(math.log1p(math.exp(v))) for v in (-30.0, -3.0, 0.0)]
    torch.testing.assert_close(log_softplus(y[:3]).tolist(), softplus_of, atol=1e-10, rtol=1e-10)


def test_relations_between_rows() -> None:
    u = torch.logspace(-2, 2, 50, dtype=torch.float64)
    for order, other, factor in ((2.0, pearson, 0.5), (-1.0, neyman, 0.5), (0.5, hellinger, 2.0)):
        torch.testing.assert_close(alpha(order).generator(u), factor * other.generator(u))
    half = weighted_jensen_shannon(0.5)
    torch.testing.assert_close(half.generator(u), 0.5 * jensen_shannon.generator(u))
    assert alpha(1.0) is kl
    assert alpha(0.0) is reverse_kl
    torch.testing.assert_close(alpha(1.001).generator(u) + u - 1, kl.generator(u), atol=1e-3, rtol=1e-2)
    torch.testing.assert_close(ROWS["jeffrey"].generator(u), kl.generator(u) + reverse_kl.generator(u))


def test_the_gan_row_is_the_minimax_game() -> None:
    real, fake = torch.randn(2, 64)
    row = ROWS["gan"].objective()
    torch.testing.assert_close(row.critic(real, fake), minimax.critic(real, fake), atol=1e-7, rtol=0)
    torch.testing.assert_close(row.generator(fake, None), minimax.generator(fake, None), atol=1e-7, rtol=0)


def test_the_alternative_generator_raises_the_reals_side() -> None:
    score = torch.tensor([-9.0], requires_grad=True)
    bound, alternative = (ROWS["gan"].objective(alternative=choice) for choice in (False, True))
    assert torch.autograd.grad(bound.generator(score, None), score)[0].abs().item() < 1e-3
    assert torch.autograd.grad(alternative.generator(score, None), score)[0].item() == pytest.approx(-1.0, abs=1e-3)


# -- known divergences -----------------------------------------------------------------------------------------------

KNOWN = {
    "total_variation": (0.38292, 0.32267, 0.34612),
    "kl": (0.5, 0.31815, 0.34991),
    "reverse_kl": (0.5, 0.80685, 0.71953),
    "pearson": (1.71828, 0.51186, 0.60042),
    "neyman": (1.71828, math.inf, math.inf),
    "hellinger": (0.23501, 0.21115, 0.22073),
    "jeffrey": (1.0, 1.125, 1.06944),
    "jensen_shannon": (0.22284, 0.18547, 0.19858),
    "weighted_jensen_shannon": (0.09491, 0.07211, 0.07808),
    "gan": (-1.16345, -1.20083, -1.18771),
}
PAIRS = (((0.0, 1.0), (1.0, 1.0)), ((0.0, 1.0), (0.0, 2.0)), ((0.0, 1.0), (1.0, 1.5)))


FINITE = [(name, pair) for name, known in KNOWN.items() for pair in range(3) if math.isfinite(known[pair])]


@pytest.mark.parametrize(("name", "pair"), FINITE)
def test_gaussians_have_their_known_divergences(name: str, pair: int) -> None:
    p, q = (normal(*of) for of in PAIRS[pair])
    row = ROWS[name]
    assert value(row, p, q) == pytest.approx(KNOWN[name][pair], abs=2e-5)
    best = row.slope(p / q)  # the bound is tight at the best critic
    kept = (p > 1e-60) & (q > 1e-60)
    attained = (p * best - q * row.conjugate(best))[kept].sum() * STEP
    assert float(attained) == pytest.approx(KNOWN[name][pair], abs=2e-4)


@pytest.mark.parametrize("name", list(KNOWN))
def test_a_learnt_critic_bounds_the_divergence_from_below_and_closely(name: str) -> None:
    """p = N(0, 1), q = N(1, 1): trained on samples by the objective, judged by quadrature, so without luck.

    It is told x within [-2.2, 3.2] only: beyond, there are samples of one side only, and some rows' terms explode.
    """
    row = ROWS[name]
    objective = row.objective()
    even = torch.special.ndtri((torch.arange(512) + 0.5) / 512)[:, None]
    with seeded("critic", name):
        critic = MLP((1,), (1,), 32, 2, activation=nn.SiLU)
        optimizer = torch.optim.Adam(critic.parameters(), lr=3e-2)
        for step in range(250):
            optimizer.param_groups[0]["lr"] = 3e-2 * (1 - step / 250)
            real, fake = even.clamp(-2.2, 3.2), (1 + even).clamp(-2.2, 3.2)
            optimizer.zero_grad()
            objective.critic(critic(real), critic(fake)).backward()
            optimizer.step()
        with torch.no_grad():
            score = critic(X.float()[:, None].clamp(-2.2, 3.2)).double()[:, 0]
    p, q = normal(0.0, 1.0), normal(1.0, 1.0)
    bound = float((p * row.activation(score) - q * row.composite(score)).sum() * STEP)
    known = KNOWN[name][0]
    assert bound <= known + 1e-4
    assert bound >= known - 0.03 * abs(known)


def best_gaussian(row: Divergence, p: Tensor) -> tuple[float, float]:
    """Mean and deviation of the Gaussian nearest to p, by the divergence of quadrature."""
    place = torch.tensor([0.0, 0.3], dtype=torch.float64, requires_grad=True)
    solver = torch.optim.LBFGS([place], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        deviation = place[1].exp()
        q = torch.exp(-0.5 * ((X - place[0]) / deviation) ** 2) / (deviation * math.sqrt(2 * math.pi))
        loss = (q * row.generator((p / q.clamp(min=1e-200)).clamp(1e-100, 1e100))).sum() * STEP
        loss.backward()
        return loss

    solver.step(closure)
    return place[0].item(), place[1].exp().item()


@pytest.mark.parametrize(
    ("name", "mean", "deviation"),
    [
        ("kl", -0.300, 1.981),
        ("reverse_kl", -1.479, 0.779),
        ("hellinger", -0.291, 1.9),
        ("jensen_shannon", -0.315, 1.938),
    ],
)
def test_the_divergence_decides_between_covering_and_seeking_modes(name: str, mean: float, deviation: float) -> None:
    """The best Gaussian for .7 N(-1.5, .75^2) + .3 N(2.5, .75^2): KL covers both, its reverse takes the larger."""
    found = best_gaussian(ROWS[name], mixture((0.7, -1.5, 0.75), (0.3, 2.5, 0.75)))
    assert found == (pytest.approx(mean, abs=0.02), pytest.approx(deviation, abs=0.02))


# -- recipe, table, picture ------------------------------------------------------------------------------------------

POINTS = DataSpec("vector", (2,))


@pytest.mark.parametrize("name", list(ROWS))
def test_every_row_is_an_option_of_fgan(name: str) -> None:
    for choice in ("bound", "alternative"):
        mine = create("fgan", POINTS, width=8, divergence=name, generator=choice).objective
        theirs = ROWS[name].objective(alternative=choice == "alternative", limit=10.0)
        torch.testing.assert_close(mine.critic(REAL, FAKE), theirs.critic(REAL, FAKE))
        torch.testing.assert_close(mine.generator(FAKE, None), theirs.generator(FAKE, None))


@every_row
def test_bent_scores_keep_small_ones_and_survive_any(row: Divergence) -> None:
    bent, plain = row.objective(alternative=True, limit=10.0), row.objective(alternative=True)
    assert bent.critic(0.1 * REAL, 0.1 * FAKE).item() == pytest.approx(
        plain.critic(0.1 * REAL, 0.1 * FAKE).item(), abs=1e-4
    )
    for score in (torch.full((2,), -1e4, requires_grad=True), torch.full((2,), 1e4, requires_grad=True)):
        loss = bent.critic(score, score) + bent.generator(score, None)
        assert torch.autograd.grad(loss, score)[0].isfinite().all()


def test_a_divergence_that_is_not_in_the_table_is_refused_with_those_that_are() -> None:
    with pytest.raises(OptionError, match="divergence=wasserstein is not allowed") as refused:
        create("fgan", POINTS, divergence="wasserstein")
    assert all(name in str(refused.value) for name in ROWS)
    with pytest.raises(OptionError, match="Did you mean 'reverse_kl'"):
        create("fgan", POINTS, divergence="reverse-kll")


def test_parameters_of_rows_are_options() -> None:
    model = create("fgan", POINTS, width=8, divergence="alpha", order=2.0)
    expected = alpha(2.0).objective(limit=10.0).critic(REAL, FAKE)
    torch.testing.assert_close(model.objective.critic(REAL, FAKE), expected)
    model = create("fgan", POINTS, width=8, divergence="weighted_jensen_shannon", share=0.6)
    expected = weighted_jensen_shannon(0.6).objective(limit=10.0).critic(REAL, FAKE)
    torch.testing.assert_close(model.objective.critic(REAL, FAKE), expected)


def test_the_table_has_every_row_and_fits_a_page() -> None:
    lines = divergence_table().splitlines()
    for name, row in ROWS.items():
        mine = [line for line in lines if line.startswith(f"{name} ")]
        assert len(mine) == 2
        assert row.written.generator in mine[0]
        assert row.written.conjugate in mine[1]
        assert f"{row.threshold:.4g}" in mine[0]
    assert max(map(len, lines)) <= 118


def test_show_prints_the_table() -> None:
    import json

    from typer.testing import CliRunner

    from exnihilo.cli.main import app

    shown = CliRunner().invoke(app, ["show", "fgan"]).output
    assert divergence_table().splitlines()[1] in shown
    assert json.loads(CliRunner().invoke(app, ["show", "fgan", "--json"]).output)["table"] == divergence_table()
    assert "f*(t)" not in CliRunner().invoke(app, ["show", "lsgan"]).output
