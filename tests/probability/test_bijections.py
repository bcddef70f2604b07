"""Laws of invertible maps: they invert, and their log-determinants are autograd's."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from exnihilo.probability.bijections import (
    Affine,
    Bijection,
    Chain,
    Coupling,
    Flat,
    Logit,
    MultiScale,
    Squeeze,
    Standardise,
)
from exnihilo.probability.partitions import Checkerboard, Entries


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
    return Coupling(Entries(keep), Answer(kept, 2 * changed), Affine(changed))


def picture_coupling(partition: nn.Module, kept: int, changed: int) -> Coupling:
    return Coupling(partition, nn.Conv2d(kept, 2 * changed, 3, padding=1), Affine(changed))  # type: ignore[arg-type]


def multiscale() -> MultiScale:
    keep = torch.tensor([True, True, False, False])
    first = Chain([Squeeze(2, 2), picture_coupling(Entries(keep), 2, 2)])
    last = picture_coupling(Checkerboard(3, 2, 0), 2, 2)
    return MultiScale([first, last], [(2, 3, 2), (2, 3, 2)])


def standardise() -> Standardise:
    bijection = Standardise((5,)).double()
    bijection.initialise(torch.randn(50, 5, dtype=torch.float64) * 3 + 1)
    return bijection


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
    with torch.no_grad():
        ours.element.limit.uniform_(0.5, 2)

    def meta(kept: Tensor) -> object:
        raw, shift = ours.network(kept).chunk(2, dim=1)
        affine = zuko.transforms.MonotonicAffineTransform(shift, raw)
        affine.log_scale = ours.element.limit * raw.tanh()
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


def test_initialise_standardises_through_a_chain() -> None:
    data = torch.randn(500, 5) * torch.tensor([1.0, 2.0, 0.1, 5.0, 1.0]) + 3
    chain = Chain([Standardise((5,)), Flat((5,)), Standardise((5,))])
    chain.initialise(data)
    u = chain(data)[0]
    torch.testing.assert_close(u.mean(dim=0), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(u.std(dim=0, correction=0), torch.ones(5), atol=1e-4, rtol=0)
