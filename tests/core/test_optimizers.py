from __future__ import annotations

import pytest
import torch
from torch import nn

from exnihilo.core import adam, adamw, cosine, linear, rmsprop, seeded, sgd, sghmc
from exnihilo.core.optimizers import OptimizerFactory


def trained(build: object, steps: int = 20) -> torch.Tensor:
    """Where a quadratic's parameters stand after some steps."""
    weight = nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    optimizer = build([weight])  # type: ignore[operator]
    for _ in range(steps):
        optimizer.zero_grad()
        (weight - torch.tensor([0.5, 0.5, 0.5])).square().sum().backward()
        optimizer.step()
    return weight.detach()


@pytest.mark.parametrize(
    ("factory", "reference"),
    [
        (adam(1e-2, betas=(0.5, 0.9)), lambda p: torch.optim.Adam(p, lr=1e-2, betas=(0.5, 0.9))),
        (adamw(1e-2, decay=0.1), lambda p: torch.optim.AdamW(p, lr=1e-2, weight_decay=0.1)),
        (rmsprop(1e-3), lambda p: torch.optim.RMSprop(p, lr=1e-3)),
        (sgd(1e-2, momentum=0.9), lambda p: torch.optim.SGD(p, lr=1e-2, momentum=0.9)),
    ],
)
def test_a_factory_builds_the_optimiser_it_names(factory: OptimizerFactory, reference: object) -> None:
    assert torch.allclose(trained(factory), trained(reference), atol=1e-6)


def test_schedules_start_and_end_where_they_say() -> None:
    factor = cosine(warmup=0.1, hold=0.5, end=0.01)
    assert factor(0.0) == pytest.approx(1e-3)
    assert factor(0.05) == pytest.approx(0.5)
    assert factor(0.3) == pytest.approx(1.0)
    assert factor(0.75) == pytest.approx(0.505)
    assert factor(1.0) == pytest.approx(0.01)
    assert [linear(0.2)(progress) for progress in (0.0, 0.5, 1.0)] == pytest.approx([1.0, 0.6, 0.2])


def test_sghmc_samples_the_posterior_it_is_given() -> None:
    """10,000 chains in the potential w^2 / (2 variance) end with that variance, for small steps."""
    variance = torch.tensor([0.25, 4.0])
    weight = nn.Parameter(torch.zeros(10_000, 2))
    optimizer = sghmc(2e-3, friction=0.1)([weight])
    with seeded("sghmc"):
        for _ in range(1500):
            weight.grad = weight.detach() / variance
            optimizer.step()
    assert torch.allclose(weight.detach().var(dim=0), variance, rtol=0.08)
    assert torch.allclose(weight.detach().mean(dim=0), torch.zeros(2), atol=0.1)


def test_sghmc_noise_is_a_function_of_the_scope() -> None:
    def walk() -> torch.Tensor:
        with seeded(1):
            return trained(sghmc(1e-3))

    assert torch.equal(walk(), walk())
