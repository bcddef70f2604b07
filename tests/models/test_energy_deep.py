"""Deep belief nets and deep Boltzmann machines against sums over all their states."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from exnihilo.core import Batch, DataSpec, create
from exnihilo.models.energy import DeepBeliefNet, DeepBoltzmannMachine
from exnihilo.models.energy.stacked import Level
from tests.models.test_energy import Examples


def every(n: int) -> Tensor:
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)), dtype=torch.float64)


def machine(sizes: tuple[int, ...], *, scale: float = 0.8) -> DeepBoltzmannMachine:
    """A deep Boltzmann machine with random parameters."""
    torch.manual_seed(0)
    model = DeepBoltzmannMachine(sizes[:1], sizes[1:])
    model.spec, model.recipe = DataSpec("vector", sizes[:1], levels=2), "dbm"
    with torch.no_grad():
        for level in model.stack:
            level.weight.normal_(0, scale)
            level.above_bias.normal_(0, 0.4)
        model.stack[0].below_bias.normal_(0, 0.4)
    return model.double()


def brute(model: DeepBoltzmannMachine) -> Tensor:
    """[2^D] the logarithm of the sum over all hidden states, by the definition of the energy."""
    sizes = model.sizes
    x = every(sum(sizes))
    layers = x.split(list(sizes), dim=1)
    total = layers[0] @ model.stack[0].below_bias
    for level, below, above in zip(model.stack, layers[:-1], layers[1:], strict=True):
        total = total + ((below @ level.weight) * above).sum(dim=1) + above @ level.above_bias
    return total.view(2 ** sizes[0], -1).logsumexp(dim=1)


# -- the deep Boltzmann machine --------------------------------------------------------------------------------------


def test_golden_deep_machine() -> None:
    model = machine((3, 2, 2))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.stack[0].weight.copy_(torch.tensor([[0.5, -0.3], [0.2, 0.4], [-0.6, 0.1]]))
        model.stack[1].weight.copy_(torch.tensor([[0.3, -0.2], [0.1, 0.7]]))
    x, close = torch.tensor([[1.0, 0, 1]], dtype=torch.float64), {"atol": 1e-7, "rtol": 0}
    torch.testing.assert_close(model.log_normaliser().item(), 5.27482607, **close)
    torch.testing.assert_close(model.log_prob(x).item(), -2.38718151, **close)
    even, odd = model.mean_field(x, iterations=100)
    torch.testing.assert_close(odd[0].tolist(), [0.4876022, 0.56381793], **close)
    torch.testing.assert_close(even[0, 3:].tolist(), [0.55049291, 0.57374618], **close)
    model.inference = 100
    torch.testing.assert_close((-model.bounded_energy(x) - model.log_normaliser()).item(), -2.40620674, **close)


@pytest.mark.parametrize("sizes", [(4, 3, 3), (3, 2, 4, 2), (3, 2, 2, 2, 2)])
def test_sums_equal_brute_force(sizes: tuple[int, ...]) -> None:
    model = machine(sizes)
    log_p, x = brute(model), every(sizes[0])
    torch.testing.assert_close(model.log_normaliser(), log_p.logsumexp(dim=0))
    torch.testing.assert_close(model.log_prob(x), log_p.log_softmax(dim=0))
    assert (model.bounded_energy(x) >= model.energy(x) - 1e-9).all()


def test_every_mean_field_iteration_raises_the_bound() -> None:
    model, x = machine((4, 3, 3, 2), scale=1.5), every(4)
    bounds = []
    for model.inference in (0, 1, 2, 5, 20, 200, 400):
        bounds.append(-model.bounded_energy(x))
    assert (torch.stack(bounds).diff(dim=0) >= -1e-9).all()
    torch.testing.assert_close(bounds[-1], bounds[-2], atol=1e-6, rtol=0)
    even, odd = model.mean_field(x, iterations=400)
    torch.testing.assert_close(model.machine.hidden(even), odd)
    torch.testing.assert_close(model.machine.mean(odd)[:, 4:], even[:, 4:], atol=1e-6, rtol=0)


def test_annealed_log_z_agrees_and_makes_the_bound() -> None:
    model, x = machine((4, 3, 3)), every(4)
    exact = model.log_normaliser().item()
    estimate = model.log_partition("ais", chains=200, temperatures=300, seed=1)
    assert estimate.low < exact < estimate.high
    assert abs(estimate.value - exact) < 0.1
    model.exact = False  # as a larger one
    model.normaliser.keep(estimate)
    bound = model.log_prob_bound(x)
    model.exact = True
    torch.testing.assert_close(bound, -model.bounded_energy(x) - estimate.value)
    assert (bound <= model.log_prob(x) + exact - estimate.value + 1e-9).all()


def test_the_joint_gradient_is_the_likelihoods_where_the_means_are_exact() -> None:
    """With one hidden unit in each of the layers of odd number and none coupled beyond, mean field is exact."""
    model = machine((4, 1, 2))
    with torch.no_grad():
        model.stack[1].weight.zero_()
    v = every(4)[[2, 9, 9]]
    p = model.log_prob(every(4)).detach().exp()
    even = every(6)  # (v, h_2), h_1 summed out
    log_even = -model.machine.free_energy(even) - model.log_normaliser()
    repeats = torch.multinomial(log_even.detach().exp(), 200_000, replacement=True)
    loss = model.gap(v, even[repeats])
    found = torch.autograd.grad(loss, [model.stack[0].weight, model.stack[0].above_bias])
    exact = torch.autograd.grad(-model.log_prob(v).mean(), [model.stack[0].weight, model.stack[0].above_bias])
    assert float(p.sum()) == pytest.approx(1)
    torch.testing.assert_close(found, exact, atol=0.01, rtol=0)


def test_deep_samples_and_gaps_follow_the_density() -> None:
    model, n = machine((3, 2, 2)).float(), 10000
    model.chunk = n
    p = model.log_prob(every(3).float()).detach().exp()
    x = model.sample(n, seed=0, sweeps=30)
    found = torch.bincount(x.long() @ torch.tensor([4, 2, 1]), minlength=8) / n
    assert 0.5 * (found - p).abs().sum() < 3 * math.sqrt(8 / (2 * math.pi * n))
    known = torch.tensor([[True, False, False]]).expand(n, -1)
    filled = model.impute(torch.tensor([[1.0, 0, 0]]).expand(n, -1), known, seed=0, sweeps=30)
    found = torch.bincount(filled.long() @ torch.tensor([4, 2, 1]), minlength=8)[4:] / n
    torch.testing.assert_close(found, p[4:] / p[4:].sum(), atol=0.03, rtol=0)


def test_pretraining_counts_weights_twice_where_a_layer_will_be_beyond() -> None:
    model = machine((4, 3, 3, 2))
    assert [(level.up, level.down) for level in model.stack] == [(2, 1), (2, 2), (1, 2)]
    v, level = every(4), model.stack[1]
    h = torch.rand(5, 3, dtype=torch.float64)
    torch.testing.assert_close(level.upward(h), (2 * h @ level.weight + level.above_bias).sigmoid())
    torch.testing.assert_close(level.downward(h), 2 * h @ level.weight.T + level.below_bias)
    before = [lower.above_bias.clone() for lower in model.stack]
    model.settle(v)
    torch.testing.assert_close(model.stack[0].above_bias, 0.5 * (before[0] + model.stack[1].below_bias))
    assert torch.equal(model.stack[2].above_bias, before[2])


# -- the deep belief net ---------------------------------------------------------------------------------------------


def net(sizes: tuple[int, ...]) -> DeepBeliefNet:
    torch.manual_seed(0)
    model = DeepBeliefNet(sizes[:1], sizes[1:])
    model.spec, model.recipe = DataSpec("vector", sizes[:1], levels=2), "dbn"
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.7)
    return model.double()


def exact_net(model: DeepBeliefNet, sizes: tuple[int, ...]) -> Tensor:
    """[2^D] log p(v) by summing over h_1 ... h_{L-1}, of layers of which h_L is summed out by its definition."""
    hidden = every(sum(sizes[1:-1]))
    layers = hidden.split(list(sizes[1:-1]), dim=1)
    top = every(sizes[-1])
    joint = (layers[-1] @ model.top.weight) @ top.T + (layers[-1] @ model.stack[-1].below_bias)[:, None]
    log_p = (joint + top @ model.stack[-1].above_bias).logsumexp(dim=1) - model.top.log_partition()
    for level, below, above in zip(model.stack[1:-1], layers[:-1], layers[1:], strict=True):
        log_p = log_p + torch.distributions.Bernoulli(logits=level.downward(above)).log_prob(below).sum(dim=1)
    given = torch.distributions.Bernoulli(logits=model.stack[0].downward(layers[0])[:, None])
    return (given.log_prob(every(sizes[0])).sum(dim=2) + log_p[:, None]).logsumexp(dim=0)


@pytest.mark.parametrize("sizes", [(4, 3, 3), (4, 3, 2, 3)])
def test_the_bound_is_below_and_closes_with_more_draws(sizes: tuple[int, ...]) -> None:
    model = net(sizes)
    log_p = exact_net(model, sizes)
    assert log_p.exp().sum().item() == pytest.approx(1)
    x = every(4).repeat(400, 1)
    with torch.no_grad():
        one, many = (model.log_prob_bound(x, k=k).view(400, 16).mean(dim=0) for k in (1, 300))
    assert (one <= log_p + 0.05).all()
    assert (log_p - one).mean().item() > 0.05
    assert (one <= many + 0.1).all()
    torch.testing.assert_close(many, log_p.detach(), atol=0.08, rtol=0)


def test_a_level_upside_down_leaves_the_model_as_it_is() -> None:
    """p(h_1) of the second machine equals that of the first one, enumerated for 6-5-6, and 6-5-8."""
    for above in (6, 8):
        torch.manual_seed(0)
        lower, upper = Level(6, 5, 10).double(), Level(5, above, 10).double()
        with torch.no_grad():
            for parameter in lower.parameters():
                parameter.normal_()
            upper.weight.zero_()
        upper.begin(torch.zeros(20, 5, dtype=torch.float64), lower)
        h = every(5)
        first = lower.machine
        flipped = h @ lower.above_bias + torch.nn.functional.softplus(lower.below_bias + h @ lower.weight.T).sum(dim=1)
        wanted = flipped - first.log_partition()
        found = -upper.machine.free_energy(h) - upper.machine.log_partition()
        torch.testing.assert_close(found, wanted)
    narrow = Level(5, 3, 10)
    narrow.begin(torch.full((20, 5), 0.25), Level(6, 5, 10))
    torch.testing.assert_close(narrow.below_bias.sigmoid(), torch.full((5,), 0.25))


def test_gaps_of_a_net_follow_its_conditional_in_spite_of_the_way_up() -> None:
    model, n = net((3, 2, 2)).float(), 8000
    p = exact_net(model.double(), (3, 2, 2)).detach().exp()
    model.float()
    known = torch.tensor([[True, False, False]]).expand(n, -1)
    filled = model.impute(torch.tensor([[1.0, 0, 0]]).expand(n, -1), known, seed=0, sweeps=60)
    found = torch.bincount(filled.long() @ torch.tensor([4, 2, 1]), minlength=8)[4:] / n
    torch.testing.assert_close(found.double(), p[4:] / p[4:].sum(), atol=0.03, rtol=0)
    model.chunk = n
    x = model.sample(n, seed=0, sweeps=40)
    found = torch.bincount(x.long() @ torch.tensor([4, 2, 1]), minlength=8) / n
    torch.testing.assert_close(found.double(), p, atol=0.02, rtol=0)


def test_up_down_terms_are_what_they_say() -> None:
    model = net((4, 3, 3))
    terms = model.loss(Batch(every(4)))
    assert set(terms) == {"wake", "gap", "sleep"}
    for name, moved in (("wake", "levels.0"), ("gap", "levels.1"), ("sleep", "recognition.0")):
        model.zero_grad()
        terms[name].backward()
        assert {key.rsplit(".", 1)[0] for key, weight in model.named_parameters() if weight.grad is not None} == {moved}


# -- learning --------------------------------------------------------------------------------------------------------


def play(model: DeepBeliefNet | DeepBoltzmannMachine, x: Tensor, updates: int) -> list[str]:
    """All stages, each of so many updates, much as the trainer plays them."""
    names = []
    for stage in model.stages():
        names.append(stage.name)
        if stage.enter is not None:
            stage.enter(Examples(x))  # type: ignore[arg-type]
        for player in stage.players():
            factory = player.optimizer or model.optimizer
            optimizer = factory(player.module.parameters())
            for step in range(updates):
                optimizer.param_groups[0]["lr"] = 5 * factory.rate * (1 - step / updates)  # fewer, larger steps
                optimizer.zero_grad()
                torch.stack(list(player.loss(Batch(x[torch.randint(len(x), (64,))])).values())).sum().backward()
                optimizer.step()
    return names


@pytest.mark.parametrize("name", ["dbn", "dbm"])
def test_they_learn_bars(name: str) -> None:
    """Rows of a 3 x 3 picture are on or off: log 8 = 2.08 nats; independent pixels need 6.2."""
    torch.manual_seed(0)
    rows = torch.randint(0, 2, (600, 3, 1)).expand(-1, -1, 3).reshape(600, 9).float()
    train, x = rows[:500], rows[500:]
    model = create(name, DataSpec("vector", (9,), levels=2), seed=0, width=6)
    assert isinstance(model, DeepBeliefNet | DeepBoltzmannMachine)
    stages = play(model, train, 600)
    assert stages == ["level 1", "level 2", "up-down" if name == "dbn" else "together", "normalise"]
    with torch.no_grad():
        bound = -float(model.log_prob_bound(x, k=20).mean())
        surprise = model.energy(torch.eye(9)).mean() - model.energy(x).mean()
    assert 2.0 < bound < 3.6
    assert surprise > 1
    assert model.normaliser.known
    assert float(model.normaliser.figures[0]) == pytest.approx(model.log_partition().value, abs=1e-4)
    assert (model.reconstruct(x) - x).abs().mean().item() < 0.25


@pytest.mark.parametrize("name", ["dbn", "dbm"])
def test_grey_levels_have_no_likelihood(name: str) -> None:
    torch.manual_seed(0)
    model = create(name, DataSpec("image", (1, 4, 4), levels=17), width=8)
    assert not {"log_prob", "log_prob_bound"} & set(model.capabilities)
    assert {"sample", "energy", "encode", "decode", "reconstruct", "impute"} <= set(model.capabilities)
    x = model.sample(3, seed=0, sweeps=4)
    assert len(x.unique()) > 10
    assert model.sample(3, seed=0, sweeps=4, mode="draw").unique().tolist() == [-1.0, 1.0]
