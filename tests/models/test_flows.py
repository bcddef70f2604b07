"""Flows: densities that integrate to one, codes that decode, pictures of any sides."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from exnihilo.core import Batch, DataSpec, GenerativeModel, ModelError, Noise, create
from exnihilo.models.flows import Flow

PLANE = DataSpec("vector", (2,), examples=100)
SPECS = {
    "plane": PLANE,
    "vector": DataSpec("vector", (13,)),
    "digits": DataSpec("image", (1, 8, 8), levels=17),
    "odd": DataSpec("image", (1, 9, 7), levels=17),
    "colour": DataSpec("image", (3, 16, 16), levels=256),
    "half_odd": DataSpec("image", (1, 13, 14), levels=4),
    "wholly_odd": DataSpec("image", (2, 13, 15), levels=4),
    "mnist": DataSpec("image", (1, 28, 28), levels=256),
}


class Examples:
    """The little of `Data` that `enter` asks for."""

    def __init__(self, x: Tensor):
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, k: int, size: int, seed: int) -> Batch:
        return Batch(self.x[:size])


def shaken(spec: DataSpec, by: float = 0.2) -> GenerativeModel:
    """A flow with random weights: as created, every coupling is the identity."""
    torch.manual_seed(0)
    model = create("realnvp", spec, seed=1, width=16)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(by * torch.randn_like(weight))
    return model


@pytest.mark.parametrize("name", SPECS)
def test_codes_decode_and_have_as_many_numbers(name: str) -> None:
    spec, model = SPECS[name], shaken(SPECS[name], by=0.1).double()
    x = 2 * torch.rand(3, *spec.shape, dtype=torch.float64) - 1
    u = model.encode(x)
    assert u.shape == (3, spec.size)
    assert not torch.allclose(u, x.flatten(1), atol=0.1)
    torch.testing.assert_close(model.decode(u), x, atol=1e-8, rtol=0)


@pytest.mark.parametrize("name", ["vector", "odd", "half_odd"])
def test_log_determinant_is_autograds(name: str) -> None:
    spec, model = SPECS[name], shaken(SPECS[name]).double()
    x = torch.randn(spec.shape, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda part: model.encode(part[None])[0], x)
    exact = torch.linalg.slogdet(jacobian.reshape(spec.size, spec.size))[1]
    torch.testing.assert_close(model(x[None])[1][0], exact, atol=1e-8, rtol=0)


def test_density_integrates_to_one() -> None:
    model = shaken(PLANE, by=0.1)
    line = torch.linspace(-8, 8, 401)
    x = torch.cartesian_prod(line, line)
    with torch.no_grad():
        total = model.log_prob(x).exp().sum() * (16 / 400) ** 2
    assert float(total) == pytest.approx(1, abs=1e-2)


def test_samples_follow_the_density() -> None:
    model = shaken(PLANE, by=0.1)
    line = torch.linspace(-8, 8, 201)
    x = torch.cartesian_prod(line, line)
    with torch.no_grad():
        p = model.log_prob(x).exp()
    mean = (x * p[:, None]).sum(dim=0) / p.sum()
    variance = ((x - mean).square() * p[:, None]).sum(dim=0) / p.sum()
    samples = model.sample(8000, seed=0)
    torch.testing.assert_close(samples.mean(dim=0), mean, atol=0.06, rtol=0)
    torch.testing.assert_close(samples.var(dim=0), variance, atol=0.02, rtol=0.08)


def test_an_untrained_flow_is_the_gaussian_of_the_data() -> None:
    torch.manual_seed(0)
    data = torch.randn(300, 2) * torch.tensor([2.0, 0.1]) + 5
    model = create("realnvp", PLANE, width=8)
    assert isinstance(model, Flow)
    model.initialise(Examples(data))  # type: ignore[arg-type]
    normal = torch.distributions.Normal(data.mean(dim=0), data.std(dim=0, correction=0))
    torch.testing.assert_close(model.log_prob(data), normal.log_prob(data).sum(dim=1), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("name", ["plane", "digits", "half_odd"])
def test_finite_at_fifty_deviations_also_in_half_precision(name: str) -> None:
    model = shaken(SPECS[name])
    x = (50 * torch.randn(8, *SPECS[name].shape).sign()).requires_grad_()
    model.log_prob(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model.log_prob(x.detach())
    assert half.dtype == torch.float32
    assert half.isfinite().all()


def test_learning_lowers_the_loss_and_keeps_densities_of_one_example_alone() -> None:
    torch.manual_seed(0)
    angle = 2 * math.pi * torch.rand(256)
    ring = torch.stack([angle.cos(), angle.sin()], dim=1) + 0.1 * torch.randn(256, 2)
    model = create("realnvp", PLANE, width=32, dropout=0.0)
    first = model.loss(Batch(ring))["nats"].item()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    model.train()
    for _ in range(200):
        optimizer.zero_grad()
        loss = model.loss(Batch(ring))["nats"]
        loss.backward()
        optimizer.step()
    assert loss.item() < first - 1
    model.eval()
    torch.testing.assert_close(model.log_prob(ring[:1]), model.log_prob(ring)[:1])


def test_levels_are_dequantised_before_the_density_sees_them() -> None:
    model = create("realnvp", SPECS["digits"], width=8)
    seen: list[Tensor] = []
    model.bijection.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model.loss(Batch(torch.ones(4, 1, 8, 8)))
    assert seen[0].std() > 0
    assert (seen[0] - 1).abs().max() <= 1 / 16


def test_samples_are_their_own_whatever_the_batch() -> None:
    model = shaken(SPECS["digits"], by=0.1)
    whole = model.sample(6, seed=5)
    alone = model.sample(1, seed=Noise(5, [4]))
    torch.testing.assert_close(whole[4:5], alone, atol=1e-5, rtol=1e-5)
    cold = model.sample(50, seed=5, temperature=0.0)
    assert cold.std(dim=0).max() < 1e-5


def test_data_of_one_number_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match="gmm"):
        create("realnvp", DataSpec("vector", (1,)))
