"""Laws of invertible maps: they invert, and their log-determinants are autograd's."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from exnihilo.nets.masked import MADE
from exnihilo.probability.bijections import (
    Autoregressive,
    Bijection,
    Chain,
    Coupling,
    Elementwise,
    Flat,
    Inverse,
    Logit,
    MultiScale,
    Squeeze,
    Standardise,
)
from exnihilo.probability.elements import Affine, Shrink
from exnihilo.probability.mixing import ActNorm, InvertibleLinear, Whitening
from exnihilo.probability.partitions import Checkerboard, Entries
from exnihilo.probability.planar import PlanarMap, Radial, RadialMap
from exnihilo.probability.splines import RationalQuadratic


class Answer(nn.Module):
    """A small random network from the kept entries to parameters."""

    def __init__(self, kept: int, out: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(kept, 16), nn.Tanh(), nn.Linear(16, out))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def vector_coupling(flip: bool = False) -> Coupling:
    keep = torch.tensor([True, False, False, True, False])
    keep = ~keep if flip else keep
    kept, changed = int(keep.sum()), int((~keep).sum())
    return Coupling(Entries(keep), Answer(kept, 2 * changed), Affine())


def picture_coupling(partition: nn.Module, kept: int, changed: int) -> Coupling:
    return Coupling(partition, nn.Conv2d(kept, 2 * changed, 3, padding=1), Affine())  # type: ignore[arg-type]


def multiscale() -> MultiScale:
    keep = torch.tensor([True, True, False, False])
    first = Chain([Squeeze(2, 2), picture_coupling(Entries(keep), 2, 2)])
    last = picture_coupling(Checkerboard(3, 2, 0), 2, 2)
    return MultiScale([first, last], [(2, 3, 2), (2, 3, 2)])


def standardise() -> Standardise:
    bijection = Standardise((5,)).double()
    bijection.initialise(torch.randn(50, 5, dtype=torch.float64) * 3 + 1)
    return bijection


def shaken(bijection: Bijection, by: float = 0.2) -> Bijection:
    for weight in bijection.parameters():
        weight.data.add_(by * torch.randn_like(weight))
    return bijection


def masked() -> Autoregressive:
    return Autoregressive(MADE((5,), 2, width=16, depth=2), Affine())


MAPS: dict[str, tuple[Callable[[], Bijection], tuple[int, ...]]] = {
    "standardise": (standardise, (5,)),
    "coupling": (vector_coupling, (5,)),
    "chain": (lambda: Chain([vector_coupling(), vector_coupling(flip=True)]), (5,)),
    "logit": (lambda: Logit(-0.5, 1.0, 0.02), (5,)),
    "flat": (lambda: Flat((2, 3)), (2, 3)),
    "squeeze": (lambda: Squeeze(2, 2), (2, 4, 6)),
    "squeeze_columns": (lambda: Squeeze(1, 2), (2, 3, 4)),
    "channels": (lambda: picture_coupling(Entries(torch.tensor([True, False, True])), 2, 1), (3, 3, 4)),
    "checkerboard": (lambda: picture_coupling(Checkerboard(3, 5, 1), 2, 2), (2, 3, 5)),
    "multiscale": (multiscale, (1, 6, 4)),
    "elementwise": (lambda: shaken(Elementwise((5,), RationalQuadratic(4, 3.0)), 1.0), (5,)),
    "autoregressive": (lambda: shaken(masked()), (5,)),
    "inverse_autoregressive": (lambda: shaken(Inverse(masked())), (5,)),
    "actnorm": (lambda: shaken(ActNorm(5)), (5,)),
    "actnorm_of_pictures": (lambda: shaken(ActNorm(2)), (2, 2, 3)),
    "rotation": (lambda: shaken(InvertibleLinear(5), 0.05), (5,)),
    "mixed_places": (lambda: shaken(InvertibleLinear(5, rotation=False)), (5,)),
    "whitening": (lambda: shaken(Whitening(5), 0.05), (5,)),
    "rotation_of_channels": (lambda: shaken(InvertibleLinear(3), 0.05), (3, 2, 2)),
    "planar": (lambda: shaken(PlanarMap(5)), (5,)),
    "inverse_planar": (lambda: shaken(Inverse(PlanarMap(5))), (5,)),
    "radial": (lambda: shaken(RadialMap(5)), (5,)),
    "inverse_radial": (lambda: shaken(Inverse(RadialMap(5))), (5,)),
}


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("name", MAPS)
def test_inverts_with_autograds_log_determinant(name: str) -> None:
    make, shape = MAPS[name]
    bijection = make().double()
    x = torch.randn(4, *shape, dtype=torch.float64)
    u, log_det = bijection(x)
    assert log_det.shape == (4,)
    torch.testing.assert_close(bijection.inverse(u), x, atol=1e-9, rtol=0)
    size = math.prod(shape)
    for i in range(2):
        jacobian = torch.autograd.functional.jacobian(lambda part: bijection(part[None])[0][0], x[i])
        torch.testing.assert_close(torch.linalg.slogdet(jacobian.reshape(size, size))[1], log_det[i], atol=1e-8, rtol=0)


@pytest.mark.parametrize("name", MAPS)
def test_finite_far_out_and_in_half_precision(name: str) -> None:
    make, shape = MAPS[name]
    bijection = make().float()
    x = (50 * torch.randn(8, *shape).sign()).requires_grad_()
    u, log_det = bijection(x)
    (u.sum() + log_det.sum()).backward()
    assert u.isfinite().all()
    assert log_det.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        u, log_det = bijection(x.detach())
        back = bijection.inverse(u)
    assert u.dtype == log_det.dtype == torch.float32  # the density is never rounded to half precision
    torch.testing.assert_close(back, x.detach(), atol=0.05, rtol=1e-3)


def test_squeeze_is_a_permutation_that_turns_the_checkerboard_into_channels() -> None:
    x = torch.arange(2.0 * 4 * 6).reshape(1, 2, 4, 6)
    u, log_det = Squeeze(2, 2)(x)
    assert sorted(u.flatten().tolist()) == x.flatten().tolist()
    assert log_det.tolist() == [0.0]
    squares = ((torch.arange(4)[:, None] + torch.arange(6)) % 2).expand(1, 2, 4, 6)
    packed = Squeeze(2, 2)(squares)[0]
    assert [int(channel.unique()) for channel in packed[0]] == [0, 0, 1, 1, 1, 1, 0, 0]


def test_a_checkerboard_changes_the_other_squares_only() -> None:
    x = torch.randn(2, 1, 3, 5)
    u = picture_coupling(Checkerboard(3, 5, 0), 1, 1)(x)[0]
    same = (u == x).all(dim=0)[0]
    assert torch.equal(same, (torch.arange(3)[:, None] + torch.arange(5)) % 2 == 0)


def test_two_complementary_couplings_change_every_entry() -> None:
    x = torch.randn(3, 5)
    one = vector_coupling()(x)[0]
    assert (one == x).all(dim=0).tolist() == [True, False, False, True, False]
    two = Chain([vector_coupling(), vector_coupling(flip=True)])(x)[0]
    assert (two != x).all()


def test_affine_coupling_equals_zukos() -> None:
    zuko = pytest.importorskip("zuko")
    ours = vector_coupling().double()

    def meta(kept: Tensor) -> object:
        raw, shift = ours.network(kept).chunk(2, dim=1)
        affine = zuko.transforms.MonotonicAffineTransform(shift, raw)
        affine.log_scale = raw / (1 + raw.abs() / 3)
        affine.scale = affine.log_scale.exp()
        return zuko.transforms.DependentTransform(affine, 1)

    theirs = zuko.transforms.CouplingTransform(meta, torch.tensor([True, False, False, True, False]))
    x = torch.randn(7, 5, dtype=torch.float64)
    u, log_det = ours(x)
    their_u, their_log_det = theirs.call_and_ladj(x)
    torch.testing.assert_close(u, their_u)
    torch.testing.assert_close(log_det, their_log_det)
    torch.testing.assert_close(ours.inverse(u), theirs.inv(their_u))


def test_logit_stretches_its_range_and_goes_straight_beyond() -> None:
    line = torch.linspace(-3, 3, 61, dtype=torch.float64)[:, None]
    u = Logit(-1, 1, 0.01)(line)[0][:, 0]
    steps = u.diff()
    assert (steps > 0).all()
    torch.testing.assert_close(steps[:20], steps[:1].expand(20))  # tangents below and above
    torch.testing.assert_close(steps[-20:], steps[:1].expand(20))
    assert u[[20, 40]].abs().tolist() == pytest.approx([math.log(99)] * 2)  # the ends of the range
    assert steps[19] > 5 * steps[30]


def test_actnorm_starts_with_mean_zero_and_variance_one_in_every_channel() -> None:
    data = torch.randn(50, 3, 4, 4) * torch.tensor([1.0, 5.0, 0.1])[:, None, None] + 2
    norm = ActNorm(3)
    norm.initialise(data)
    u, log_det = norm(data)
    torch.testing.assert_close(u.mean(dim=(0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(u.std(dim=(0, 2, 3), correction=0), torch.ones(3), atol=1e-4, rtol=0)
    assert log_det[0].item() == pytest.approx(-16 * data.std(dim=(0, 2, 3), correction=0).log().sum().item(), abs=1e-3)


@pytest.mark.parametrize("rotation", [True, False])
def test_a_linear_map_starts_as_a_rotation_with_volume_one(rotation: bool) -> None:
    linear = InvertibleLinear(6, rotation=rotation)
    matrix = linear(torch.eye(6))[0]
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(6), atol=1e-5, rtol=0)
    assert linear(torch.eye(6))[1].abs().max() < 1e-5
    if not rotation:
        assert sorted(matrix.flatten().tolist()) == [0.0] * 30 + [1.0] * 6


def test_whitening_starts_from_the_covariance_of_the_data() -> None:
    mixing = torch.eye(4, dtype=torch.float64) + 0.4 * torch.ones(4, 4, dtype=torch.float64).tril(-1)
    data = torch.randn(40_000, 4, dtype=torch.float64) @ mixing.T
    linear = Whitening(4).double()
    linear.initialise(data)
    u, log_det = linear(data)
    torch.testing.assert_close(torch.cov(u.T), torch.eye(4, dtype=torch.float64), atol=1e-2, rtol=0)
    expected = -0.5 * torch.linalg.slogdet(torch.cov(data.T)).logabsdet
    torch.testing.assert_close(log_det, expected.expand(len(data)), atol=1e-2, rtol=0)


def test_whitening_of_fewer_examples_than_entries_has_a_bound() -> None:
    linear = Whitening(30).double()
    data = torch.randn(10, 30, dtype=torch.float64)
    linear.initialise(data / data.std(dim=0, correction=0))
    assert linear(torch.randn(500, 30, dtype=torch.float64))[0].std() < 3


# -- autoregressive --------------------------------------------------------------------------------------------------


def test_masked_autoregressive_equals_zukos_with_the_same_network() -> None:
    zuko = pytest.importorskip("zuko")
    ours = shaken(masked()).double()

    def meta(x: Tensor) -> object:
        raw, shift = ours.network(x).chunk(2, dim=1)
        affine = zuko.transforms.MonotonicAffineTransform(shift, raw)
        affine.log_scale = raw / (1 + raw.abs() / 3)
        affine.scale = affine.log_scale.exp()
        return zuko.transforms.DependentTransform(affine, 1)

    theirs = zuko.transforms.AutoregressiveTransform(meta, 5)
    x = torch.randn(7, 5, dtype=torch.float64)
    u, log_det = ours(x)
    their_u, their_log_det = theirs.call_and_ladj(x)
    torch.testing.assert_close(u, their_u)
    torch.testing.assert_close(log_det, their_log_det)
    torch.testing.assert_close(ours.inverse(u), theirs.inv(their_u))


def test_an_entry_depends_on_all_before_it_and_none_after() -> None:
    """Universal check U5: parameters by gradients, at random weights."""
    ours = shaken(masked(), 0.5).double()
    x = torch.randn(50, 5, dtype=torch.float64, requires_grad=True)  # at one point alone a rectified unit may sleep
    answer = ours.answer(x).square().sum(dim=(0, 1))
    slopes = torch.stack([torch.autograd.grad(one, x, retain_graph=True)[0].abs().sum(dim=0) for one in answer])
    before = torch.ones(5, 5).tril(-1).bool()
    assert (slopes[~before] == 0).all()
    assert (slopes[before] > 1e-12).all()


def test_without_gradients_the_inverse_is_a_walk() -> None:
    """In either order and for every element map the walk finds what whole passes find."""
    for element in (Affine(), RationalQuadratic(4, 2.0), Shrink()):
        order = torch.tensor([3, 0, 4, 2, 1])
        one = shaken(Autoregressive(MADE((5,), element.count, width=16, depth=2, vector=3, order=order), element))
        u, vector = torch.randn(6, 5), torch.randn(6, 3)
        with torch.no_grad():
            walked = one.inverse(u, vector)
        torch.testing.assert_close(walked, one.inverse(u, vector), atol=1e-5, rtol=1e-5)
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            near = one.inverse(u, vector)
        assert near.dtype == torch.float32
        torch.testing.assert_close(near, walked, atol=0.3, rtol=0.1)


def test_the_inverse_of_an_inverse_flow_is_the_masked_flow() -> None:
    one = shaken(masked()).double()
    x = torch.randn(6, 5, dtype=torch.float64)
    u, log_det = one(x)
    iaf = Inverse(one)
    torch.testing.assert_close(iaf.inverse(x), u)
    back, opposite = iaf(u)
    torch.testing.assert_close(back, x, atol=1e-10, rtol=0)
    torch.testing.assert_close(opposite, -log_det, atol=1e-10, rtol=0)


# -- planar and radial -----------------------------------------------------------------------------------------------


def test_golden_radial_step() -> None:
    """Likelihood card G6; the planar one is with the posteriors that use it."""
    number = torch.tensor([0.8, 0.5], dtype=torch.float64)
    radial = Radial(torch.tensor([[0, 0.2, -0.1]], dtype=torch.float64), number[:1], number[1:])
    z, log_det = radial(torch.tensor([[0.5, -1, 0.3]], dtype=torch.float64))
    assert z[0].tolist() == pytest.approx([0.61573286, -1.27775887, 0.39258629], abs=1e-7)
    assert log_det.item() == pytest.approx(0.49865561, abs=1e-7)


@pytest.mark.parametrize("beta", [-0.79, 0.0, 5.0])
def test_radial_steps_invert_from_the_centre_to_far_out(beta: float) -> None:
    centre = torch.tensor([[0.5, -1.0]], dtype=torch.float64)
    radial = Radial(centre, torch.tensor([0.8]).double(), torch.tensor([beta]).double())
    away = torch.tensor([0, 1e-9, 1e-3, 1, 100.0], dtype=torch.float64)[:, None]
    z = centre + away * torch.tensor([0.6, 0.8], dtype=torch.float64)
    torch.testing.assert_close(radial.inverse(radial(z)[0]), z, atol=1e-10, rtol=1e-10)


def test_slopes_of_an_inverse_have_gradients_too() -> None:
    """log|det| of the inverse planar map by its own weights, as training asks for it."""
    bijection = shaken(Inverse(PlanarMap(3))).double()
    x = torch.randn(4, 3, dtype=torch.float64)
    weights = tuple(bijection.parameters())

    def total(*values: Tensor) -> Tensor:
        names = [name for name, _ in bijection.named_parameters()]
        u, log_det = torch.func.functional_call(bijection, dict(zip(names, values, strict=True)), (x,))
        return u.sum() + log_det.sum()

    assert torch.autograd.gradcheck(total, weights, atol=1e-6)


def test_shrinking_never_stretches() -> None:
    raw = torch.linspace(-100, 100, 21, dtype=torch.float64)
    parameters = torch.stack([raw, torch.zeros_like(raw)])[None]
    log_slope = Shrink()(torch.ones(1, 21, dtype=torch.float64), parameters)[1]
    assert (log_slope <= 0).all()
    assert Shrink()(torch.ones(1, 1), torch.zeros(1, 2, 1))[1].exp().item() == pytest.approx(0.8808, abs=1e-4)


def test_initialise_standardises_through_a_chain() -> None:
    data = torch.randn(500, 5) * torch.tensor([1.0, 2.0, 0.1, 5.0, 1.0]) + 3
    chain = Chain([Standardise((5,)), Flat((5,)), Standardise((5,))])
    chain.initialise(data)
    u = chain(data)[0]
    torch.testing.assert_close(u.mean(dim=0), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(u.std(dim=0, correction=0), torch.ones(5), atol=1e-4, rtol=0)
