"""Maps of single numbers: golden values, slopes by autograd, inverses, and zuko as the oracle of splines."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from exnihilo.probability.elements import Additive, Affine, ElementMap, InTurn, LogisticMixture, Shrink
from exnihilo.probability.roots import rising_root
from exnihilo.probability.splines import RationalQuadratic

torch.set_num_threads(1)
N = 3
ELEMENTS: dict[str, ElementMap] = {
    "additive": Additive(),
    "affine": Affine(),
    "shrink": Shrink(),
    "mixture": LogisticMixture(3),
    "spline": RationalQuadratic(5, 2.0),
    "moved_spline": InTurn(Affine(), RationalQuadratic(5, 2.0)),
}
every = pytest.mark.parametrize("name", ELEMENTS)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@every
def test_inverts_rises_and_knows_its_slope(name: str) -> None:
    element = ELEMENTS[name].double()
    x, parameters = (2 * numbers(40, N)).requires_grad_(), 1.5 * numbers(40, element.count, N, seed=1)
    y, log_slope = element(x, parameters)
    slope = torch.autograd.grad(y.sum(), x)[0]
    assert (slope > 0).all()
    torch.testing.assert_close(log_slope, slope.log(), atol=1e-8, rtol=0)
    torch.testing.assert_close(element.inverse(y, parameters), x, atol=1e-8, rtol=0)


@every
def test_gradients_of_the_inverse_are_those_of_the_implicit_function(name: str) -> None:
    element = ELEMENTS[name].double()
    y, parameters = numbers(6, N).requires_grad_(), numbers(6, element.count, N, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(element.inverse, (y, parameters), atol=1e-6)


@every
def test_finite_far_out_with_wild_parameters(name: str) -> None:
    element = ELEMENTS[name].float()
    x = torch.tensor([-1e4, -50.0, -2.0, 0.0, 2.0, 50.0, 1e4])[:, None].expand(-1, N).clone().requires_grad_()
    parameters = (20 * torch.randn(7, element.count, N, generator=torch.Generator().manual_seed(0))).requires_grad_()
    y, log_slope = element(x, parameters)
    (y.sum() + log_slope.sum()).backward()
    assert y.isfinite().all()
    assert log_slope.isfinite().all()
    for leaf in (x, parameters):
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
    assert element.inverse(y.detach(), parameters.detach()).isfinite().all()


def test_it_serves_channels_of_pictures_as_well() -> None:
    for element in ELEMENTS.values():
        element = element.double()
        x, parameters = numbers(2, N, 4, 5), numbers(2, element.count, N, 4, 5, seed=1)
        y, log_slope = element(x, parameters)
        one, slope = element(x[:, :, 1, 2], parameters[:, :, :, 1, 2])
        torch.testing.assert_close(y[:, :, 1, 2], one)
        torch.testing.assert_close(log_slope[:, :, 1, 2].expand_as(slope), slope)


def test_a_root_has_the_gradient_of_the_implicit_function() -> None:
    """x^3 + x = t: dx / dt = 1 / (3 x^2 + 1)."""
    target = torch.tensor([-10.0, 0.0, 2.0], dtype=torch.float64, requires_grad=True)
    bound = torch.full_like(target, 20.0)
    x = rising_root(lambda x: (x**3 + x, 3 * x**2 + 1), target, -bound, bound)
    torch.testing.assert_close(x, torch.tensor([-2.0, 0.0, 1.0], dtype=torch.float64), atol=1e-10, rtol=0)
    torch.testing.assert_close(torch.autograd.grad(x.sum(), target)[0], 1 / (3 * x**2 + 1))


# -- splines ---------------------------------------------------------------------------------------------------------


class Unfloored(RationalQuadratic):
    """Bins of any size, as the golden values have them."""

    LEAST = 0.0


def knots(spline: RationalQuadratic, parameters: Tensor) -> Tensor:
    """[B, 3, K + 1, n] x, y and slopes, knot by knot, straight from the description."""
    widths, heights, slopes = parameters.split([spline.bins, spline.bins, spline.bins - 1], dim=1)
    places = []
    for raw in (widths, heights):
        shares = spline.LEAST + (1 - spline.LEAST * spline.bins) * raw.softmax(dim=1)
        inner = torch.stack([shares[:, :k].sum(dim=1) for k in range(spline.bins + 1)], dim=1)
        places.append(spline.bound * (2 * inner - 1))
    level = math.log(math.exp(1 - spline.LEAST) - 1)
    one = torch.ones_like(slopes[:, :1])
    return torch.stack([*places, torch.cat([one, (slopes + level).exp().log1p() + spline.LEAST, one], dim=1)], dim=1)


def test_golden_spline() -> None:
    """Likelihood card G5."""
    spline = Unfloored(4, 3.0).double()
    slopes = [math.log(math.expm1(slope)) - spline.level for slope in (0.6, 1.4, 0.9)]
    raw = [0.1, 0.4, -0.2, 0, -0.3, 0.2, 0.5, 0.1, *slopes]
    parameters = torch.tensor(raw, dtype=torch.float64)[None, :, None]
    x = torch.tensor([-2.5, -0.4, 0.7, 2.9], dtype=torch.float64)[:, None]
    y, log_slope = spline(x, parameters)
    assert y[:, 0].tolist() == pytest.approx([-2.60961822, -1.39894452, -0.22247548, 2.89861136], abs=1e-7)
    assert log_slope[:, 0].tolist() == pytest.approx([-0.46562818, -0.36760183, 0.62946221, 0.02666108], abs=1e-7)
    torch.testing.assert_close(spline.inverse(y, parameters), x, atol=1e-12, rtol=0)


def test_spline_equals_zukos_on_the_same_knots() -> None:
    zuko = pytest.importorskip("zuko")
    spline = RationalQuadratic(6, 2.5).double()
    parameters, x = 2 * numbers(50, spline.count, N), 2 * numbers(50, N, seed=1)
    horizontal, vertical, slopes = knots(spline, parameters).unbind(dim=1)
    theirs = zuko.transforms.MonotonicRQSTransform(*(torch.zeros(50, N, k, dtype=torch.float64) for k in (6, 6, 5)))
    theirs.horizontal, theirs.vertical = horizontal.movedim(1, -1), vertical.movedim(1, -1)
    theirs.derivatives = slopes.movedim(1, -1)
    y, log_slope = spline(x, parameters)
    their_y, their_log_slope = theirs.call_and_ladj(x)
    assert (x.abs() > 2.5).any()
    assert (x.abs() < 2.5).any()
    torch.testing.assert_close(y, their_y, atol=1e-10, rtol=0)
    torch.testing.assert_close(log_slope, their_log_slope, atol=1e-10, rtol=0)
    torch.testing.assert_close(spline.inverse(y, parameters), theirs.inv(y), atol=1e-9, rtol=0)


def test_examples_may_share_a_spline() -> None:
    """The same values and the same gradients as with a copy of the parameters for each."""
    spline = RationalQuadratic(6, 2.5).double()
    shared, x = numbers(1, spline.count, N, 2).requires_grad_(), 2 * numbers(50, N, 2, seed=1)
    copied = shared.expand(50, -1, -1, -1).clone()
    for ours, theirs in zip(spline(x, shared), spline(x, copied), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-12, rtol=0)
    gradients = [torch.autograd.grad(sum(spline(x, way)).sum(), shared)[0] for way in (shared, copied)]
    torch.testing.assert_close(*gradients, atol=1e-10, rtol=0)
    torch.testing.assert_close(spline.inverse(spline(x, shared)[0], shared), x, atol=1e-8, rtol=0)


def test_spline_with_parameters_of_zero_is_the_identity_and_beyond_its_bound_always() -> None:
    spline = RationalQuadratic(8, 3.0).double()
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)[:, None]
    y, log_slope = spline(x, torch.zeros(101, spline.count, 1, dtype=torch.float64))
    torch.testing.assert_close(y, x, atol=1e-12, rtol=0)
    torch.testing.assert_close(log_slope, torch.zeros_like(x), atol=1e-12, rtol=0)
    wild = numbers(1, spline.count, 1).expand(101, -1, -1)
    y = spline(x, wild)[0]
    outside = x.abs() >= 3
    assert torch.equal(y[outside], x[outside])
    assert (y[:, 0].diff() > 0).all()


def test_mixture_is_the_logit_of_its_distribution_function() -> None:
    mixture = LogisticMixture(2).double()
    x = torch.tensor([[0.3]], dtype=torch.float64)
    parameters = torch.tensor([0.2, -0.1, 0.5, -0.5, 0.4, -0.6, 0.3, -0.2], dtype=torch.float64)[None, :, None]
    scales = [math.exp(s / (1 + abs(s) / 3)) for s in (0.3, -0.2)]
    weights = [1 / (1 + math.exp(-1)), 1 / (1 + math.exp(1))]
    places = [0.4 + mixture.places[0].item(), -0.6 + mixture.places[1].item()]
    heap = sum(w / (1 + math.exp(-(0.3 - m) / s)) for w, m, s in zip(weights, places, scales, strict=True))
    expected = math.log(heap / (1 - heap)) * math.exp(0.2 / (1 + 0.2 / 3)) - 0.1
    assert mixture(x, parameters)[0].item() == pytest.approx(expected, abs=1e-12)
