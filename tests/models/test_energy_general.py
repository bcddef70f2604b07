"""Fully connected Boltzmann machines against enumeration: Ising figures, gradients, rules of learning."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from exnihilo.core import Batch, DataSpec, OptionError, Unsupported, create
from exnihilo.models.energy import BoltzmannMachine, Pairwise
from exnihilo.probability.chains import TorchChance, run_chain
from tests.models.test_energy import Examples


def every(n: int) -> Tensor:
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)), dtype=torch.float64)


def neighbours(rows: int, columns: int) -> Tensor:
    """[n, n] 1 where two places of a grid touch."""
    place = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
    return ((place[:, None] - place).abs().sum(dim=2) == 1).double()


def random_machine(n: int, scale: float = 0.7) -> Pairwise:
    torch.manual_seed(0)
    upper = (scale * torch.randn(n, n, dtype=torch.float64)).triu(1)
    return Pairwise(upper + upper.T, 0.5 * torch.randn(n, dtype=torch.float64))


def model_of(machine: Pairwise, **options: object) -> BoltzmannMachine:
    hidden = int(options.get("hidden", 0))  # type: ignore[call-overload]
    model = create("boltzmann", DataSpec("vector", (len(machine.bias) - hidden,), levels=2), **options)
    assert isinstance(model, BoltzmannMachine)
    with torch.no_grad():
        model.weight.copy_(machine.weight.triu(1))
        model.bias.copy_(machine.bias)
    return model


# -- exact mathematics -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "log_z", "bonds"), [(3, 7.26765277, 5.44089773), (4, 13.18657342, 11.30787075)])
def test_golden_ising(side: int, log_z: float, bonds: float) -> None:
    touching = neighbours(side, side)
    machine, constant = Pairwise.of_spins(0.4 * touching, torch.zeros(side**2, dtype=torch.float64))
    assert float(machine.log_partition()) - constant == pytest.approx(log_z, abs=1e-7)
    mean, second = machine.moments()
    spins = 4 * second - 2 * mean - 2 * mean[:, None] + 1  # E[s s'] of s = 2 x - 1
    assert 0.5 * float((touching * spins).sum()) == pytest.approx(bonds, abs=1e-6)


def test_annealed_importance_finds_the_isings_normaliser() -> None:
    touching = neighbours(3, 3)
    machine, constant = Pairwise.of_spins(0.4 * touching, torch.zeros(9, dtype=torch.float64))
    estimate = machine.annealed(torch.zeros(9), 300, 200, seed=0).plus(-constant)
    assert estimate.low < 7.26765277 < estimate.high
    assert abs(estimate.value - 7.26765277) < 0.1


def test_single_site_gibbs_reaches_the_exact_moments() -> None:
    machine, n = random_machine(6), 20000
    torch.manual_seed(1)
    x = run_chain(machine.sweep(), torch.zeros(n, 6, dtype=torch.float64), 40, TorchChance())
    mean, second = machine.moments()
    torch.testing.assert_close(x.mean(dim=0), mean, atol=0.015, rtol=0)
    torch.testing.assert_close((x.T @ x / n).triu(1), second.triu(1), atol=0.015, rtol=0)


def test_held_units_stay_and_the_others_follow_the_conditional() -> None:
    machine, n = random_machine(5), 20000
    torch.manual_seed(1)
    start = torch.tensor([1.0, 0, 1, 0, 0], dtype=torch.float64).expand(n, -1)
    mask = torch.tensor([True, False, True, False, True]).expand(n, -1)
    x = run_chain(machine.sweep(mask), start, 30, TorchChance())
    assert torch.equal(x[mask], start[mask])
    states = every(5)
    fits = states[(states[:, 0] == 1) & (states[:, 2] == 1) & (states[:, 4] == 0)]
    exact = (-machine.energy(fits)).softmax(dim=0)
    found = (x[:, None] == fits).all(dim=2).double().mean(dim=0)
    torch.testing.assert_close(found, exact, atol=0.02, rtol=0)


def test_pseudo_likelihood_is_the_product_of_the_conditionals() -> None:
    machine, x = random_machine(4), every(4)
    p = (-machine.energy(x)).softmax(dim=0)
    index = {tuple(row.tolist()): place for place, row in enumerate(x)}
    total = torch.zeros(16, dtype=torch.float64)
    for i in range(4):
        other = x.clone()
        other[:, i] = 1 - other[:, i]
        partner = p[[index[tuple(row.tolist())] for row in other]]
        total += (p / (p + partner)).log()
    torch.testing.assert_close(machine.pseudo_log_prob(x), total)


def test_mean_field_solves_its_equation_and_bounds_log_z() -> None:
    machine = random_machine(6, scale=0.4)
    m = machine.mean_field(torch.full((1, 6), 0.5, dtype=torch.float64), iterations=200)
    torch.testing.assert_close(m, machine.means(m), atol=1e-6, rtol=0)
    entropy = -(torch.xlogy(m, m) + torch.xlogy(1 - m, 1 - m)).sum()
    assert float(entropy - machine.energy(m)[0]) <= float(machine.log_partition()) + 1e-9


def test_hidden_units_are_summed_out() -> None:
    machine = random_machine(7, scale=2.0)
    model = model_of(machine, hidden=3).double()
    joint = (-machine.energy(every(7))).view(16, 8).logsumexp(dim=1)
    torch.testing.assert_close(model.log_prob(every(4)), joint - joint.logsumexp(dim=0))
    v = every(4)
    assert (model.bounded_energy(v) >= model.energy(v) - 1e-9).all()
    assert (model.bounded_energy(v) > model.energy(v) + 1e-2).any()


# -- learning --------------------------------------------------------------------------------------------------------


def test_the_exact_rule_has_the_gradient_of_the_likelihood() -> None:
    model = model_of(random_machine(5), rule="exact").double()
    v = every(5)[[3, 3, 17, 30]]
    model.loss(Batch(v))["gap"].backward()
    found = [model.weight.grad, model.bias.grad]
    assert found[0] is not None
    assert not found[0].tril().any()
    exact = torch.autograd.grad(-model.log_prob(v).mean(), [model.weight, model.bias])
    torch.testing.assert_close(found, list(exact))


def test_the_exact_rule_recovers_a_machine() -> None:
    truth = random_machine(8, scale=0.5)
    p = (-truth.energy(every(8)) - truth.log_partition()).exp()
    mean, second = truth.moments()
    model = model_of(Pairwise(torch.zeros(8, 8), torch.zeros(8))).double()
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = -(p @ model.log_prob(every(8)))
        loss.backward()
        return loss

    optimizer.step(closure)
    found_mean, found = model.machine.moments()
    torch.testing.assert_close(found_mean, mean, atol=1e-3, rtol=0)
    torch.testing.assert_close(found.triu(1), second.triu(1), atol=1e-3, rtol=0)
    assert float(p @ (p.log() - model.log_prob(every(8)).detach())) < 1e-4


@pytest.mark.parametrize(("rule", "reached"), [("exact", 0.02), ("pcd", 0.05), ("pseudo", 0.03)])
def test_every_rule_learns_an_ising_model(rule: str, reached: float) -> None:
    """Divergence from the truth; independent units are 0.54 nats away."""
    truth, _ = Pairwise.of_spins(0.4 * neighbours(2, 4), 0.1 * torch.ones(8, dtype=torch.float64))
    log_p = -truth.energy(every(8)) - truth.log_partition()
    torch.manual_seed(0)
    data = every(8)[torch.multinomial(log_p.exp(), 4000, replacement=True)].float()
    model = create("boltzmann", DataSpec("vector", (8,), levels=2), rule=rule)
    assert isinstance(model, BoltzmannMachine)
    model.initialise(Examples(data))  # type: ignore[arg-type]
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    with torch.no_grad():
        model.weight.zero_()
        apart = float(log_p.exp() @ (log_p - model.log_prob(every(8).float())))
    assert apart > 0.4
    for step in range(300):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 300)
        optimizer.zero_grad()
        sum(model.loss(Batch(data[torch.randint(4000, (200,))])).values()).backward()  # type: ignore[union-attr]
        optimizer.step()
    with torch.no_grad():
        assert float(log_p.exp() @ (log_p - model.log_prob(every(8).float()))) < reached


@pytest.mark.parametrize(("coupling", "reached"), [(0.2, 0.2), (0.4, 0.4), (1.0, 0.6)])
def test_mean_field_is_solved_as_far_as_it_holds(coupling: float, reached: float) -> None:
    """The share of independent units' divergence that is left; with all of the covariances it is 45 times it at 1."""
    truth, _ = Pairwise.of_spins(coupling * neighbours(2, 4), 0.1 * torch.ones(8, dtype=torch.float64))
    log_p = -truth.energy(every(8)) - truth.log_partition()
    torch.manual_seed(0)
    data = every(8)[torch.multinomial(log_p.exp(), 4000, replacement=True)].float()
    model = create("boltzmann", DataSpec("vector", (8,), levels=2), rule="mean_field")
    assert isinstance(model, BoltzmannMachine)
    assert not list(model.players())
    model.initialise(Examples(data))  # type: ignore[arg-type]
    independent = Pairwise(torch.zeros(8, 8, dtype=torch.float64), model.data_mean.double().logit())
    with torch.no_grad():
        apart, far = (
            float(log_p.exp() @ (log_p + machine.energy(every(8)) + machine.log_partition()))
            for machine in (model.machine.double(), independent)
        )
    assert apart < reached * far


# -- what it is asked for --------------------------------------------------------------------------------------------


def test_samples_and_gaps_follow_the_density() -> None:
    model, n = model_of(random_machine(5)), 10000
    model.chunk = n
    x = model.sample(n, seed=0, sweeps=30)
    found = torch.bincount(x.long() @ (2 ** torch.arange(4, -1, -1)), minlength=32) / n
    exact = model.log_prob(every(5).float()).detach().exp()
    assert float(exact.sum()) == pytest.approx(1, abs=1e-5)
    assert 0.5 * (found - exact).abs().sum() < 3 * math.sqrt(32 / (2 * math.pi * n))
    known = torch.tensor([[True, True, False, False, True]]).expand(n, -1)
    x = torch.tensor([[1.0, 0, 0, 0, 1]]).expand(n, -1)
    filled = model.impute(x, known, seed=0, sweeps=30)
    fits = every(5).float()[[17, 19, 21, 23]]
    found = (filled[:, None] == fits).all(dim=2).float().mean(dim=0)
    torch.testing.assert_close(found, model.log_prob(fits).softmax(dim=0).detach(), atol=0.025, rtol=0)


def test_what_is_too_large_is_refused_with_its_size() -> None:
    spec = DataSpec("vector", (30,), levels=2)
    with pytest.raises(OptionError, match=r"2\^30 = 1\.1e\+09 .* Use rule=pcd"):
        create("boltzmann", spec, rule="exact")
    for rule in ("pseudo", "mean_field"):
        with pytest.raises(OptionError, match="hidden units"):
            create("boltzmann", spec, rule=rule, hidden=2)
    model = create("boltzmann", spec)
    assert isinstance(model, BoltzmannMachine)
    assert "log_prob" not in model.capabilities
    with pytest.raises(Unsupported, match="log_prob"):
        model.log_prob(torch.zeros(1, 30))
    with pytest.raises(OptionError, match=r"30 units .* Use method=ais"):
        model.log_partition("exact")
    large = create("rbm", DataSpec("image", (1, 40, 40), levels=2), width=1200)
    with pytest.raises(OptionError, match=r"2\^1200 terms"):
        large.log_partition("exact")  # type: ignore[attr-defined]
