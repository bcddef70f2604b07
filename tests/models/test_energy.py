"""Boltzmann machines against brute force: energies, normalisers, gradients, chains."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from exnihilo.core import Batch, DataSpec, Noise, OptionError, Unsupported, create
from exnihilo.models.energy import Restricted, RestrictedBoltzmannMachine
from exnihilo.models.energy.machines import Bernoulli, Gaussian, contrast
from exnihilo.probability.chains import TorchChance

BITS = DataSpec("vector", (4,), levels=2)
DIGITS = DataSpec("image", (1, 8, 8), levels=17)
REAL = DataSpec("vector", (2,))
ALL = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)), dtype=torch.float64)  # [16, 4]
SEEN = torch.tensor([[1.0, 0, 1, 0], [0, 1, 1, 1]], dtype=torch.float64)


class Examples:
    """The little of `Data` that `enter` asks for."""

    def __init__(self, x: Tensor):
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, k: int, size: int, seed: int) -> Batch:
        return Batch(self.x[:size])


def golden(dtype: torch.dtype = torch.float64) -> Restricted:
    """The machine of formulas whose figures were computed by brute force."""
    i, j = torch.arange(4)[:, None].to(dtype), torch.arange(3).to(dtype)
    weight = 0.5 * torch.sin(1 + i + 2 * j)
    return Restricted(Bernoulli(0.1 * i[:, 0] - 0.15), weight, torch.tensor([0.2, -0.1, 0.05], dtype=dtype))


def golden_model(**options: Any) -> RestrictedBoltzmannMachine:
    """The same as a model."""
    model = create("rbm", BITS, width=3, **options)
    assert isinstance(model, RestrictedBoltzmannMachine)
    machine = golden(torch.float32)
    with torch.no_grad():
        model.weight.copy_(machine.weight)
        model.visible_bias.copy_(machine.visible.bias)
        model.hidden_bias.copy_(machine.hidden_bias)
    return model


def real_model() -> RestrictedBoltzmannMachine:
    """A machine of two real units with random weights and standardised data of other means and scales."""
    torch.manual_seed(0)
    model = create("rbm", REAL, width=3)
    assert isinstance(model, RestrictedBoltzmannMachine)
    assert model.log_scale is not None
    with torch.no_grad():
        model.weight.copy_(torch.randn(2, 3))
        model.visible_bias.copy_(torch.tensor([0.3, -0.5]))
        model.hidden_bias.copy_(torch.tensor([0.2, -0.4, 0.1]))
        model.log_scale.copy_(torch.tensor([-0.3, 0.2]))
        model.data_mean.copy_(torch.tensor([1.0, -1.0]))
        model.data_scale.copy_(torch.tensor([0.5, 1.5]))
    return model


# -- exact mathematics -----------------------------------------------------------------------------------------------


def test_golden_figures() -> None:
    machine, v = golden(), SEEN[:1]
    close = {"atol": 1e-7, "rtol": 0}
    torch.testing.assert_close(float(machine.log_partition()), 5.01055355, **close)
    torch.testing.assert_close(float(machine.free_energy(v)), -2.11204014, **close)
    torch.testing.assert_close(float(-machine.free_energy(v) - machine.log_partition()), -2.89851341, **close)
    torch.testing.assert_close(machine.hidden(v)[0].tolist(), [0.66625505, 0.37545093, 0.47477921], **close)
    p = (-machine.free_energy(ALL) - machine.log_partition()).exp()
    torch.testing.assert_close((p @ ALL).tolist(), [0.46842982, 0.50364852, 0.52444507, 0.53382814], **close)


def test_golden_gradient_and_that_the_surrogate_has_it() -> None:
    machine = golden()
    machine.weight.requires_grad_()
    log_p = -machine.free_energy(SEEN) - machine.log_partition()
    exact = torch.autograd.grad(log_p.mean(), machine.weight)[0]
    torch.testing.assert_close(exact[0].tolist(), [0.02241181, 0.01436542, 0.01147068], atol=1e-7, rtol=0)
    p = (-machine.free_energy(ALL) - machine.log_partition()).exp().detach()
    gap = machine.free_energy(SEEN).mean() - p @ machine.free_energy(ALL)  # chains at their limit
    surrogate = torch.autograd.grad(gap, machine.weight)[0]
    torch.testing.assert_close(-surrogate, exact)


def test_free_energy_sums_out_the_hidden_units() -> None:
    machine = golden()
    hidden = torch.tensor(list(itertools.product([0.0, 1.0], repeat=3)), dtype=torch.float64)
    joint = ALL @ machine.weight @ hidden.T + (ALL @ machine.visible.bias)[:, None] + hidden @ machine.hidden_bias
    torch.testing.assert_close(machine.free_energy(ALL), -joint.logsumexp(dim=1))
    torch.testing.assert_close(machine.log_partition(), joint.flatten().logsumexp(dim=0))


def test_scikit_learn_has_the_same_machine() -> None:
    from sklearn.neural_network import BernoulliRBM

    x = (np.random.default_rng(0).random((80, 6)) < 0.4).astype(float)
    theirs = BernoulliRBM(5, learning_rate=0.1, n_iter=20, random_state=0).fit(x)
    weight = torch.from_numpy(theirs.components_.T.copy())
    biases = torch.from_numpy(theirs.intercept_visible_), torch.from_numpy(theirs.intercept_hidden_)
    ours, v = Restricted(Bernoulli(biases[0]), weight, biases[1]), torch.from_numpy(x)
    torch.testing.assert_close(ours.hidden(v), torch.from_numpy(theirs.transform(x)))
    torch.testing.assert_close(ours.free_energy(v), torch.from_numpy(theirs._free_energy(x)))


def test_the_closed_form_has_the_gradient_of_the_free_energies() -> None:
    torch.manual_seed(0)
    for visible in (Bernoulli(torch.randn(4)), Gaussian(torch.randn(4), 0.3 * torch.randn(4))):
        machine = Restricted(visible, torch.randn(4, 3), torch.randn(3))
        parameters = [machine.weight, machine.hidden_bias, *vars(visible).values()]
        for parameter in parameters:
            parameter.requires_grad_()
        positive, negative = torch.rand(7, 4), torch.rand(5, 4)
        v = torch.cat([positive, negative])
        closed = machine.weighted_energy(v, machine.hidden(v).detach(), contrast(7, 5, v))
        found = torch.autograd.grad(closed, parameters)
        gap = machine.free_energy(positive).mean() - machine.free_energy(negative).mean()
        torch.testing.assert_close(found, torch.autograd.grad(gap, parameters))


def test_either_layer_may_be_summed() -> None:
    torch.manual_seed(0)
    weight = torch.randn(6, 4, dtype=torch.float64)
    a, b = torch.randn(6, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    wide, tall = Restricted(Bernoulli(a), weight, b), Restricted(Bernoulli(b), weight.T, a)
    torch.testing.assert_close(wide.log_partition(), tall.log_partition())


def test_real_units_are_normalised() -> None:
    model = real_model().double()
    line = torch.linspace(-10, 10, 501, dtype=torch.float64)
    x = torch.cartesian_prod(line, 2 * line)
    with torch.no_grad():
        total = model.log_prob(x).exp().sum() * (20 / 500) * (40 / 500)
    assert float(total) == pytest.approx(1, abs=1e-6)
    assert not model.mass
    assert "score" in model.capabilities


# -- chains ----------------------------------------------------------------------------------------------------------


def test_gibbs_sampling_reaches_the_exact_probabilities() -> None:
    model, n = golden_model(), 20000
    model.chunk = n
    x = model.sample(n, seed=0, sweeps=30)
    code = x.long() @ (2 ** torch.arange(3, -1, -1))
    found = torch.bincount(code, minlength=16) / n
    exact = model.log_prob(ALL.float()).detach().exp()
    assert float(exact.sum()) == pytest.approx(1, abs=1e-5)
    assert 0.5 * (found - exact).abs().sum() < 3 * math.sqrt(16 / (2 * math.pi * n))


def test_real_samples_have_the_exact_moments() -> None:
    model = real_model()
    line = torch.linspace(-10, 10, 301)
    x = torch.cartesian_prod(line, 2 * line)
    with torch.no_grad():
        p = model.log_prob(x).exp()
    p = p / p.sum()
    mean = p @ x
    variance = p @ (x - mean).square()
    model.chunk = 10000
    samples = model.sample(10000, seed=0, sweeps=100)
    torch.testing.assert_close(samples.mean(dim=0), mean, atol=0.08, rtol=0)
    torch.testing.assert_close(samples.var(dim=0), variance, atol=0.02, rtol=0.05)


@pytest.mark.parametrize("make", [golden_model, real_model])
def test_annealed_importance_agrees_with_the_sum(make: Any) -> None:
    model = make()
    exact = model.log_partition("exact")
    estimate = model.log_partition("ais", chains=200, temperatures=400, seed=1)
    assert abs(estimate.value - exact.value) < 0.1
    assert estimate.low < exact.value < estimate.high
    assert model.log_partition().value == exact.value


def test_imputed_bits_follow_the_conditional() -> None:
    model, n = golden_model(), 4000
    x = torch.tensor([1.0, 0.0, 1.0, 0.0]).expand(n, -1)
    mask = torch.tensor([True, False, True, False]).expand(n, -1)
    filled = model.impute(x, mask, seed=0)
    assert torch.equal(filled[mask], x[mask])
    fits = ALL.float()[(ALL[:, 0] == 1) & (ALL[:, 2] == 1)]
    exact = model.log_prob(fits).softmax(dim=0)
    found = (filled[:, None] == fits).all(dim=2).float().mean(dim=0)
    torch.testing.assert_close(found, exact.detach(), atol=0.03, rtol=0)


def test_samples_are_their_own_whatever_the_batch() -> None:
    torch.manual_seed(0)
    model = create("rbm", DIGITS, width=16)
    whole = model.sample(5, seed=2, sweeps=20)
    torch.testing.assert_close(model.sample(1, seed=Noise(2, [3]), sweeps=20), whole[3:4])
    with torch.random.fork_rng():
        state = torch.get_rng_state()
        model.sample(2, seed=0, sweeps=2)
        assert torch.equal(torch.get_rng_state(), state)


# -- learning --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("negative", ["pcd", "cd"])
def test_learning_approaches_the_data(negative: str) -> None:
    torch.manual_seed(0)
    data = torch.cat([torch.tensor([[1.0, 1, 0, 0]]).repeat(60, 1), torch.tensor([[0.0, 0, 1, 1]]).repeat(40, 1)])
    model = create("rbm", BITS, width=8, negative=negative, chains=64)
    assert isinstance(model, RestrictedBoltzmannMachine)
    model.initialise(Examples(data[torch.randperm(100)]))  # type: ignore[arg-type]
    before = model.validate(Batch(data))["nats"].item()
    independent = -(0.6 * math.log(0.6) + 0.4 * math.log(0.4)) * 4
    assert before == pytest.approx(independent, abs=0.05)  # biases from the data's means
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for step in range(1000):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 1000)  # as the recipe's schedule does
        optimizer.zero_grad()
        model.loss(Batch(data[torch.randint(100, (32,))]))["gap"].backward()
        optimizer.step()
    after = model.validate(Batch(data))["nats"].item()
    assert after < 1.2  # the entropy of the data is 0.67
    shares = model.sample(1000, seed=0, sweeps=500)[:, 0].mean()
    assert float(shares) == pytest.approx(0.6, abs=0.15)


def test_persistent_chains_are_a_buffer_that_only_the_loss_moves() -> None:
    torch.manual_seed(0)
    model = create("rbm", DIGITS, width=8, chains=7)
    x = DIGITS.from_levels(torch.randint(0, 17, (20, 1, 8, 8)))
    model.initialise(Examples(x))
    assert dict(model.named_buffers())["negative.chains"].shape == (7, 8)  # of the hidden units
    assert "negative.chains" not in model.state_dict()
    before = model.negative.chains.clone()
    assert 0 <= before.min() <= before.max() <= 1
    assert model.validate(Batch(x)) == {}
    assert torch.equal(model.negative.chains, before)
    terms = model.loss(Batch(x))
    assert terms["gap"].requires_grad
    assert not torch.equal(model.negative.chains, before)
    ends = model.negatives(model.to_state(x))
    assert ends.shape == (7, 64)
    assert len(ends.unique()) > 20  # grey levels stay probabilities along the chains


def test_one_sweep_from_data_is_contrastive_divergence() -> None:
    torch.manual_seed(0)
    model = golden_model(negative="cd")
    v = SEEN.float()
    with torch.random.fork_rng():
        state = torch.get_rng_state()
        model.loss(Batch(v))["gap"].backward()
        torch.set_rng_state(state)
        reconstructed = model.machine.sweep(v, TorchChance())
    hidden = model.machine.hidden
    by_hand = (v.T @ hidden(v) - reconstructed.T @ hidden(reconstructed)) / len(v)
    assert model.weight.grad is not None
    torch.testing.assert_close(-model.weight.grad, by_hand.detach())


def test_half_precision_does_not_round_the_energy() -> None:
    model = golden_model()
    x = ALL.float()
    exact = model.log_prob(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(model.log_prob(x), exact)
        model.loss(Batch(x))["gap"].backward()
    assert model.weight.grad is not None
    assert model.weight.grad.isfinite().all()


# -- what it is asked for --------------------------------------------------------------------------------------------


def test_capabilities_follow_size_and_data() -> None:
    assert {"log_prob", "log_prob_bound"} <= set(golden_model().capabilities)
    assert golden_model().mass
    assert "score" not in golden_model().capabilities
    grey = create("rbm", DIGITS, width=8)
    large = create("rbm", DataSpec("vector", (30,), levels=2), width=21)
    for model in (grey, large):
        assert not {"log_prob", "log_prob_bound", "score"} & set(model.capabilities)
        assert {"sample", "energy", "encode", "decode", "reconstruct", "impute"} <= set(model.capabilities)
        with pytest.raises(Unsupported, match="log_prob"):
            model.log_prob(torch.zeros(1, *model.spec.shape))
    assert "log_prob" in create("rbm", DataSpec("vector", (30,), levels=2), width=8).capabilities


def test_grey_levels_are_means_unless_asked() -> None:
    torch.manual_seed(0)
    model = create("rbm", DIGITS, width=8)
    assert len(model.sample(4, seed=0, sweeps=5).unique()) > 20
    assert model.sample(4, seed=0, sweeps=5, mode="draw").unique().tolist() == [-1.0, 1.0]
    assert golden_model().sample(50, seed=0, sweeps=5).unique().tolist() == [0.0, 1.0]
    x = DIGITS.from_levels(torch.randint(0, 17, (6, 1, 8, 8)))
    code = model.encode(x)
    assert code.shape == (6, 8)
    assert model.decode(code).shape == x.shape
    assert -1 <= model.reconstruct(x).min() <= model.reconstruct(x).max() <= 1
    mask = torch.rand(6, 1, 8, 8) < 0.5
    assert torch.equal(model.impute(x, mask)[mask], x[mask])


def test_gaussian_units_for_what_is_not_binary() -> None:
    for spec in (REAL, DataSpec("vector", (3,))):
        assert create("rbm", spec, width=8).units == "gaussian"
    assert create("rbm", DIGITS, width=8, visible="gaussian").units == "gaussian"
    with pytest.raises(OptionError, match="gaussian"):
        create("rbm", REAL, visible="bernoulli")


def test_settling_standardises_real_data() -> None:
    torch.manual_seed(0)
    data = torch.randn(400, 2) * torch.tensor([3.0, 0.2]) + 1
    model = create("rbm", REAL, width=3)
    assert isinstance(model, RestrictedBoltzmannMachine)
    model.initialise(Examples(data))  # type: ignore[arg-type]
    normal = torch.distributions.Normal(data.mean(dim=0), data.std(dim=0, correction=0))
    with torch.no_grad():
        model.weight.zero_()
    torch.testing.assert_close(model.log_prob(data), normal.log_prob(data).sum(dim=1), atol=1e-3, rtol=1e-3)


def test_scale_is_learned() -> None:
    machine = Restricted(Gaussian(torch.zeros(2), torch.zeros(2, requires_grad=True)), torch.ones(2, 3), torch.zeros(3))
    machine.free_energy(torch.randn(4, 2)).sum().backward()
    assert machine.visible.log_scale.grad.abs().min() > 0  # type: ignore[attr-defined]
