from __future__ import annotations

import pytest
import torch

from exnihilo.core import DataSpec, OptionError, create
from exnihilo.data import load_data
from exnihilo.explore import manifold, traverse, typical_codes
from tests.explore.models import IMAGE, VECTOR, Drawing, Plain

CODES = torch.randn(400, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 5.0, 0.1]) + 2


def test_one_coordinate_moves_and_the_others_stand_still() -> None:
    view = traverse(Plain(VECTOR, torch.eye(3)), CODES, start=torch.tensor([9.0, 8, 7]), coordinates=1, span=2, steps=5)
    assert view.names == ("z1",)
    assert (view.z[0, :, 0] == 9).all()
    assert (view.z[0, :, 2] == 7).all()
    mean, deviation = CODES[:, 1].mean(), CODES[:, 1].std()
    torch.testing.assert_close(view.z[0, :, 1], mean + deviation * torch.linspace(-2, 2, 5))


def test_rows_are_ordered_by_what_they_change() -> None:
    view = traverse(Plain(VECTOR, torch.diag(torch.tensor([1.0, 1, 100]))), CODES, rows=2)
    assert view.names == ("z2", "z1")  # deviations 1, 5, .1 times weights 1, 1, 100
    assert view.change[0] > view.change[1]
    facts = view.facts()
    assert (facts["code"], facts["looked_at"]) == (3, 3)
    assert sum(axis["share"] for axis in facts["axes"]) < 1


def test_coordinates_are_called_by_their_names() -> None:
    data = load_data("ring8", n=200)
    model = create("infogan", data, categories=3, continuous=2, latent=1, width=8)
    codes = typical_codes(model, n=50)
    moved = traverse(model, codes, coordinates=[1, 4], steps=3).names  # the one that changes most first
    assert set(moved) == {"category 0 = 1", "continuous 1"}
    assert manifold(model, codes, coordinates=[3, 5], steps=3).names == ("continuous 0", "noise 0")


def test_principal_axes_are_those_of_the_codes() -> None:
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)))[0]
    view = traverse(Plain(VECTOR, torch.eye(3)), CODES @ turn, axes="principal", coordinates=[0, 1, 2], steps=3)
    step = view.z[0, 2] - view.z[0, 0]
    assert abs(float(torch.nn.functional.cosine_similarity(step, turn[1], dim=0))) > 0.999
    assert float(step.norm()) == pytest.approx(6 * float(CODES[:, 1].std()), rel=0.01)


def test_a_plane_takes_equal_steps_of_probability() -> None:
    codes = torch.randn(20_000, 2, generator=torch.Generator().manual_seed(0))
    view = manifold(Plain(DataSpec("vector", (2,), examples=9), torch.eye(2)), codes, steps=19)
    assert view.values[[0, 9, 18]].tolist() == pytest.approx([-1.644854, 0, 1.644854], abs=1e-5)
    assert view.share == pytest.approx(1.0)
    corner = view.x[0, 0]  # first axis left, second up
    assert corner.tolist() == pytest.approx([-1.645, 1.645], abs=0.03)
    assert view.x[18, 18].tolist() == pytest.approx([1.645, -1.645], abs=0.03)


def test_a_plane_of_a_longer_code_has_the_axes_of_largest_variance() -> None:
    model = Plain(VECTOR, torch.eye(3))
    view = manifold(model, CODES, steps=3)
    assert view.names == ("axis 0", "axis 1")
    assert view.share > 0.99
    assert manifold(model, CODES, coordinates=[0, 2], steps=3).names == ("z0", "z2")


def test_typical_codes_are_encoded_else_drawn() -> None:
    data = load_data("digits")
    drawing = Drawing(data.spec, torch.eye(2, 64))
    assert typical_codes(drawing, data, n=50).shape == (50, 2)
    plain = Plain(data.spec, torch.eye(64)[:2])
    torch.testing.assert_close(typical_codes(plain, data, n=10**6), plain.encode(data.split("train").first().x))
    with pytest.raises(OptionError, match=r"plain draws no codes, so examples must tell.*Give data"):
        typical_codes(plain)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"coordinates": 3}, "There is no coordinate 3: the code has 3, 0 to 2"),
        ({"coordinates": [0, -1]}, "There is no coordinate -1"),
        ({"coordinates": [0, 0]}, "each once"),
        ({"coordinates": []}, "Name one or more"),
        ({"axes": "principal", "coordinates": 7}, "There is no principal axis 7"),
        ({"span": 0.0}, "span=0"),
        ({"steps": 1}, "steps=1"),
    ],
)
def test_what_cannot_be_asked(asked: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        traverse(Plain(VECTOR, torch.eye(3)), CODES, **asked)  # type: ignore[arg-type]


def test_a_line_is_no_plane() -> None:
    with pytest.raises(OptionError, match="makes no plane"):
        manifold(Plain(VECTOR, torch.eye(3)[:1]), CODES[:, :1])
    with pytest.raises(OptionError, match="3 coordinates make no plane"):
        manifold(Plain(VECTOR, torch.eye(3)), CODES, coordinates=[0, 1, 2])


def test_pictures_have_a_cell_an_example() -> None:
    model = Plain(IMAGE, torch.eye(16)[:3])
    wide = traverse(model, CODES, steps=9).picture()
    narrow = traverse(model, CODES, steps=4).picture()
    assert wide.size[0] - narrow.size[0] == 5 * 67  # 64 pixels and a gap
    assert wide.size[1] == narrow.size[1]
    plane = manifold(model, CODES, steps=6).picture()
    assert min(plane.size) > 6 * 40


@pytest.mark.parametrize("source", ["iris", "moons"])
def test_points_and_rows_have_pictures(source: str) -> None:
    data = load_data(source)
    size = data.spec.size
    model = Drawing(data.spec, torch.randn(3, size, generator=torch.Generator().manual_seed(0)))
    codes = typical_codes(model)
    for view in (traverse(model, codes, steps=4), manifold(model, codes, steps=4)):
        colours = view.picture().convert("RGB").getcolors(10**6)
        assert len(colours) > 20
