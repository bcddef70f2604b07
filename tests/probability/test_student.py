"""Student's t as a head."""

from __future__ import annotations

import numpy as np
import torch
from scipy import stats
from torch.nn.functional import softplus

from exnihilo.core import Noise
from exnihilo.probability.mixtures import START_DEGREES, StudentT


def test_log_density_is_scipys() -> None:
    torch.manual_seed(0)
    head, parameters = StudentT(), torch.randn(4, 3 * 2, 5, dtype=torch.float64)
    x = 3 * torch.randn(4, 2, 5, dtype=torch.float64)
    location, log_scale, degrees = parameters.unflatten(1, (3, 2)).unbind(dim=1)
    n = 2 + softplus(degrees + START_DEGREES)
    exact = stats.t.logpdf(x.numpy(), n.numpy(), location.numpy(), log_scale.exp().numpy())
    np.testing.assert_allclose(head.entries(parameters, x).numpy(), exact, atol=1e-10)
    assert torch.equal(head.mean(parameters), location)


def test_draws_are_students() -> None:
    head, n = StudentT(), 20_000
    parameters = torch.tensor([0.5, 0.3, -2.0]).view(1, 3, 1).expand(n, -1, -1)
    degrees = 2 + float(softplus(torch.tensor(-2.0 + START_DEGREES)))
    x = head.draw(parameters, Noise(0, n))
    assert x.shape == (n, 1, 1)
    assert x.isfinite().all()
    distance = stats.kstest(x.flatten().numpy(), stats.t(degrees, 0.5, float(np.exp(0.3))).cdf).statistic
    assert distance < 1.63 / n**0.5  # 1 % of samples are further
    assert stats.kstest(x.flatten().numpy(), stats.norm(0.5, float(np.exp(0.3))).cdf).statistic > 0.03


def test_a_distant_value_pulls_little() -> None:
    parameters = torch.zeros(2, 3, 1, requires_grad=True)
    StudentT().entries(parameters, torch.tensor([3.0, 1e6]).view(2, 1, 1)).sum().backward()
    assert parameters.grad is not None
    assert parameters.grad.isfinite().all()
    assert abs(float(parameters.grad[1, 0, 0])) < abs(float(parameters.grad[0, 0, 0]))
