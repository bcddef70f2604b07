from __future__ import annotations

import math

import pytest
import torch

from exnihilo.core import OptionError, Unsupported
from exnihilo.explore import codes_of_draws, interpolate, linear, spherical
from tests.explore.models import IMAGE, VECTOR, Drawing, Plain


def test_spherical_of_unequal_lengths_is_not_corrected() -> None:
    """Golden value G22."""
    a, b = torch.tensor([[1.0, 0, 0]]), torch.tensor([[0, 2.0, 0]])
    z = spherical(a, b, torch.tensor([0.25]))[0, 0]
    assert z.tolist() == pytest.approx([0.92387953, 0.76536686, 0], abs=1e-7)


def test_both_ways_meet_their_ends() -> None:
    torch.manual_seed(0)
    a, b, t = torch.randn(3, 2, 4), torch.randn(3, 2, 4), torch.linspace(0, 1, 5)
    for way in (linear, spherical):
        z = way(a, b, t)
        assert z.shape == (3, 5, 2, 4)
        torch.testing.assert_close(z[:, 0], a)
        torch.testing.assert_close(z[:, -1], b)
    torch.testing.assert_close(linear(a, b, t)[:, 2], (a + b) / 2)


def test_spherical_keeps_equal_lengths_and_equal_angles() -> None:
    a, b = torch.tensor([[3.0, 0]]), torch.tensor([[0, 3.0]])
    z = spherical(a, b, torch.linspace(0, 1, 4))[0]
    assert z.norm(dim=1).tolist() == pytest.approx([3.0] * 4)
    assert torch.atan2(z[:, 1], z[:, 0]).tolist() == pytest.approx([k * math.pi / 6 for k in range(4)], abs=1e-6)
    shorter = linear(a, b, torch.linspace(0, 1, 4))[0].norm(dim=1)
    assert shorter[1] < 2.5


def test_codes_on_one_line_are_joined_straight() -> None:
    a = torch.tensor([[1.0, 2], [1, 2], [0, 0]])
    b = torch.tensor([[2.0, 4], [-1, -2], [1, 1]])
    z = spherical(a, b, torch.tensor([0.5]))[:, 0]
    torch.testing.assert_close(z[:2], (a + b)[:2] / 2)
    assert z.isfinite().all()


def test_auto_follows_the_sphere_only_where_codes_are_drawn() -> None:
    a, b = torch.eye(3)[:1], torch.eye(3)[1:2]
    weight = torch.eye(3)
    assert interpolate(Drawing(VECTOR, weight), a, b).how == "spherical"
    straight = interpolate(Plain(VECTOR, weight), a, b, steps=3)
    assert straight.how == "linear"
    torch.testing.assert_close(straight.x[0, 1], torch.tensor([0.5, 0.5, 0]))
    assert straight.facts()["pairs"][0]["evenness"] == pytest.approx(1.0)
    assert straight.facts()["pairs"][0]["length"] == pytest.approx(math.sqrt(2))


def test_drawn_codes_are_those_of_the_samples() -> None:
    model = Drawing(IMAGE, torch.randn(5, 16, generator=torch.Generator().manual_seed(0)))
    codes = codes_of_draws(model, [7, 2], seed=3)
    torch.testing.assert_close(model.decode(codes), model.sample(8, seed=3)[[7, 2]])


def test_what_cannot_be_asked() -> None:
    model = Plain(VECTOR, torch.eye(3))
    with pytest.raises(Unsupported, match=r"plain draws no codes.*Models that draw codes: .*vae"):
        codes_of_draws(model, [0])
    with pytest.raises(OptionError, match="There is no sample -1"):
        codes_of_draws(Drawing(VECTOR, torch.eye(3)), [-1])
    with pytest.raises(OptionError, match="steps=1 is not allowed"):
        interpolate(model, torch.eye(3), torch.eye(3), steps=1)
    with pytest.raises(OptionError, match="2 codes at one end and 3 at the other"):
        interpolate(model, torch.eye(3)[:2], torch.eye(3))


def test_the_picture_has_a_column_a_step_and_the_ends_beside() -> None:
    model = Plain(IMAGE, torch.eye(16))
    a, b = torch.full((2, 16), -1.0), torch.full((2, 16), 1.0)
    view = interpolate(model, a, b, steps=4, ends=(a.view(2, 1, 4, 4), b.view(2, 1, 4, 4)))
    bare = interpolate(model, a, b, steps=4).picture()
    assert view.picture().size[0] == bare.size[0] + 2 * 67
    pixels = torch.tensor(list(view.picture().convert("L").getdata())).view(view.picture().size[::-1])
    row = pixels[60]  # through the first row of cells
    assert set(row.tolist()) >= {0, 80, 175, 255}  # levels 0, 5, 11 and 16 of 16
