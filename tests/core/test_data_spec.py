"""DataSpec: encode and decode are inverse, dequantisation is a bound, and JSON keeps everything."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from exnihilo.core import Attribute, Column, DataError, DataSpec, seeded

GREY = DataSpec("image", (1, 4, 4), levels=17)
RGB = DataSpec("image", (3, 5, 4), levels=256)
VECTOR = DataSpec(
    "vector",
    (2,),
    columns=(Column("a", "number", 0, mean=3.0, scale=2.0), Column("b", "number", 1, mean=-1.0, scale=0.5)),
)
BITS = DataSpec("vector", (6,), levels=2)
TABLE = DataSpec(
    "table",
    (7,),
    columns=(
        Column("age", "number", 0, mean=30.0, scale=10.0, step=1.0),
        Column("sex", "category", 1, 2, categories=("f", "m")),
        Column("pay", "number", 3, 2, mean=1.5, scale=0.25, missing=True),
        Column("town", "category", 5, 2, categories=("Rome", None)),
    ),
)
SERIES = DataSpec(
    "series",
    (2, 3),
    columns=(Column("a", "number", 0, mean=3.0, scale=2.0), Column("b", "number", 1, mean=-1.0, scale=0.5)),
)
SOUND = DataSpec("audio", (1, 5), levels=256, rate=8000.0)
LETTERS = DataSpec("text", (4,), 3, vocabulary=("\n", "a", "b"), tokens="characters")
PAIRS = DataSpec("text", (2,), 4, vocabulary=("a", "b", "ab", "abb"), tokens="bpe", merges=((0, 1), (2, 1)))
ROWS = pd.DataFrame(
    {"age": [20, 41, 33], "sex": ["m", "f", "m"], "pay": [1.25, np.nan, 2.5], "town": ["Rome", None, "Rome"]}
)


@pytest.mark.parametrize(("spec", "shape"), [(GREY, (50, 4, 4)), (RGB, (50, 5, 4, 3))])
def test_pictures_come_back_bit_for_bit(spec: DataSpec, shape: tuple[int, ...]) -> None:
    raw = np.random.default_rng(0).integers(spec.levels, size=shape).astype(np.uint8)
    x = spec.encode(raw)
    assert x.shape == (50, *spec.shape)
    assert x.dtype == torch.float32
    assert x.min() == -1
    assert x.max() == 1
    assert np.array_equal(spec.decode(x), raw)


def test_all_levels_survive_the_way_there_and_back() -> None:
    for levels in (2, 17, 256):
        spec = DataSpec("image", (1, 1, levels), levels=levels)
        index = torch.arange(levels).view(1, 1, 1, levels)
        assert torch.equal(spec.to_levels(spec.from_levels(index)), index)
        assert math.isclose(spec.step, 2 / (levels - 1))


def test_vectors_come_back_in_their_units() -> None:
    raw = np.array([[3.0, -1.0], [5.0, -0.5]])
    assert torch.equal(VECTOR.encode(raw), torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    assert np.allclose(VECTOR.decode(VECTOR.encode(raw)), raw)
    bits = np.random.default_rng(0).integers(2, size=(9, 6))
    assert np.array_equal(BITS.decode(BITS.encode(bits)), bits)


def test_tables_come_back_with_types_and_gaps() -> None:
    x = TABLE.encode(ROWS)
    expected = torch.tensor([[-1, 0, 1, -1, 0, 1, 0], [1.1, 1, 0, 0, 1, 0, 1], [0.3, 0, 1, 4, 0, 1, 0]])
    assert torch.allclose(x, expected)
    back = TABLE.decode(x)
    assert list(back.columns) == list(ROWS.columns)
    assert back["age"].tolist() == [20, 41, 33]
    assert back["age"].dtype.kind == "i"
    assert back["sex"].tolist() == ["m", "f", "m"]
    assert back["pay"].isna().tolist() == [False, True, False]
    assert back["town"].isna().tolist() == [False, True, False]
    assert torch.allclose(TABLE.encode(back), x)


def test_quantise_is_what_encoding_the_decoded_gives() -> None:
    with seeded("quantise"):
        for spec in (GREY, BITS, TABLE):
            x = torch.randn(64, *spec.shape)
            near = spec.quantise(x)
            assert torch.allclose(near, spec.encode(spec.decode(x)), atol=1e-6)
            assert torch.allclose(spec.quantise(near), near, atol=1e-6)


def test_unseen_values_and_wrong_shapes_are_named() -> None:
    with pytest.raises(DataError, match=r"'sex', row 1: 'x' was not seen.*f, m"):
        TABLE.encode(ROWS.assign(sex=["m", "x", "f"]))
    with pytest.raises(DataError, match=r"'age', row 2: a missing value"):
        TABLE.encode(ROWS.assign(age=[1, 2, np.nan]))
    with pytest.raises(DataError, match=r"'pay' is missing.*Did you mean 'pays'"):
        TABLE.encode(ROWS.rename(columns={"pay": "pays"}))
    with pytest.raises(DataError, match=r"\(1, 5, 5\) do not fit data of shape \(1, 4, 4\)"):
        GREY.encode(np.zeros((2, 5, 5)))


def normal_cdf(x: Tensor) -> Tensor:
    return 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def test_uniform_dequantisation_has_the_golden_gap() -> None:
    """likelihood.md G16: P(i) = Phi(i - 0.5) - Phi(i - 1.5), i = 0 ... 3, and the bound E[ln p(i + u)] on ln P(i)."""
    spec = DataSpec("vector", (1,), levels=4)  # levels 0, 1/3, 2/3, 1
    levels = torch.arange(4).view(4, 1)
    place = levels[:, 0].double()
    exact = (normal_cdf(place - 0.5) - normal_cdf(place - 1.5)).log()
    assert torch.allclose(exact, torch.tensor([-1.41993248, -0.95991633, -1.41993248, -2.80350105]).double(), atol=1e-7)
    bound = torch.zeros(4, dtype=torch.float64)
    with seeded("dequantise"):
        x = spec.from_levels(levels).repeat_interleave(200_000, dim=0)
        noisy, log_q = spec.dequantise(x)
    # the density of the level's number plus u - 1/2 is N(1, 1); model space shrinks it by the step 1/3
    y = noisy[:, 0].double() / spec.step
    log_p = -0.5 * (y - 1).square() - 0.5 * math.log(2 * math.pi) - math.log(spec.step)
    bound = (log_p - log_q.double()).view(4, -1).mean(dim=1)
    golden = torch.tensor([-1.4606052, -0.9606052, -1.4606052, -2.9606052]).double()
    assert torch.allclose(bound, golden, atol=4e-3)
    assert (bound <= exact + 4e-3).all()
    assert torch.equal(spec.quantise(noisy), x)


def test_dequantised_tables_stay_in_their_cells_and_sum_to_the_right_density() -> None:
    """log q is the log-density of the noise: 1/step per discrete entry, N(0, 1) in the empty place of a gap."""
    columns = (Column("n", "number", 0, 2, mean=0.0, scale=4.0, step=1.0, missing=True),)
    spec = DataSpec("table", (2,), columns=columns)
    x = spec.encode(pd.DataFrame({"n": [8.0, np.nan]}))
    with seeded("gap"):
        noisy, log_q = spec.dequantise(x)
    steps = spec.steps()
    assert torch.equal(steps, torch.tensor([0.25, 1.0]))
    assert math.isclose(log_q[0].item(), -math.log(0.25), rel_tol=1e-6)
    filler = noisy[1, 0].item()
    assert math.isclose(log_q[1].item(), -0.5 * filler**2 - 0.5 * math.log(2 * math.pi), rel_tol=1e-5)
    assert (noisy[0] - x[0]).abs()[0] <= 0.125
    assert torch.allclose(spec.quantise(noisy), x)


def test_continuous_data_are_left_alone() -> None:
    x = torch.randn(5, 2)
    noisy, log_q = VECTOR.dequantise(x)
    assert torch.equal(noisy, x)
    assert torch.equal(log_q, torch.zeros(5))
    assert not VECTOR.discrete
    assert GREY.discrete


def test_json_keeps_everything() -> None:
    full = replace(
        TABLE,
        classes=2,
        class_names=("yes", "no"),
        class_shares=(0.25, 0.75),
        examples=72,
        attributes=(Attribute("hair", "category", ("dark", "fair")), Attribute("age", "number", (), 30.0, 5.0)),
    )
    for spec in (GREY, RGB, VECTOR, BITS, SERIES, SOUND, LETTERS, PAIRS, full):
        assert DataSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec
    with pytest.raises(DataError, match="unknown fields: colour"):
        DataSpec.from_json({**GREY.to_json(), "colour": 3})


def test_series_come_back_channel_by_channel() -> None:
    raw = np.array([[[3.0, 5.0, 1.0], [-1.0, -0.5, 0.0]]])
    x = SERIES.encode(raw)
    assert torch.equal(x, torch.tensor([[[0.0, 1.0, -1.0], [0.0, 1.0, 2.0]]]))
    assert np.allclose(SERIES.decode(x), raw)
    with pytest.raises(DataError, match=r"\(2, 4\) do not fit data of shape \(2, 3\)"):
        SERIES.encode(np.zeros((1, 2, 4)))


def test_texts_are_places_in_the_vocabulary() -> None:
    x = LETTERS.encode(["ab\na", "bbbb"])
    assert torch.equal(x, torch.tensor([[1, 2, 0, 1], [2, 2, 2, 2]]))
    assert x.dtype == torch.int64
    assert LETTERS.decode(x) == ["ab\na", "bbbb"]
    assert torch.equal(LETTERS.quantise(x), x)
    assert (LETTERS.step, LETTERS.low, LETTERS.discrete) == (1, 0, True)
    assert LETTERS.tokenize("ba").tolist() == [2, 1]
    with pytest.raises(DataError, match=r"'c' \(U\+0063, character 1"):
        LETTERS.tokenize("ac")


def test_byte_pairs_merge_in_their_order() -> None:
    assert PAIRS.tokenize("abab").tolist() == [2, 2]
    assert PAIRS.tokenize("abbab").tolist() == [3, 2]
    assert PAIRS.decode(torch.tensor([[3, 2], [0, 1]])) == ["abbab", "ab"]


def test_sounds_are_levels_of_the_mu_law() -> None:
    x = SOUND.encode(np.array([[-1.0, -0.01, 0.0, 0.01, 1.0]]))
    assert x.shape == (1, 1, 5)
    assert SOUND.to_levels(x)[0, 0, [0, 4]].tolist() == [0, 255]
    assert torch.allclose(x[0, 0, [1, 3]], torch.tensor([-1.0, 1.0]) * math.log(3.55) / math.log(256), atol=1 / 255)
    assert torch.equal(SOUND.encode(SOUND.decode(x)), x)


def test_classes_are_found_by_name_and_by_number() -> None:
    spec = replace(GREY, classes=2, class_names=("cat", "dog"))
    assert spec.class_index("dog") == 1
    assert spec.class_index(0) == 0
    with pytest.raises(DataError, match=r"no class 'dgo'. Did you mean 'dog'\?"):
        spec.class_index("dgo")
    with pytest.raises(DataError, match="no labels"):
        GREY.class_index("dog")


def test_attributes_speak_words_and_numbers() -> None:
    assert Attribute("smile", "yes/no").encode("yes") == 1
    assert Attribute("age", "number", (), 30.0, 5.0).encode(40) == 2
    assert math.isnan(Attribute("age", "number").encode(None))
    with pytest.raises(DataError, match=r"hair has no value 'daark'. Did you mean 'dark'"):
        Attribute("hair", "category", ("dark", "fair")).encode("daark")


def test_dequantising_never_waits_for_the_device() -> None:
    """On the `meta` device, which has no values, reading one is an error."""
    number = Column("mass", "number", 0, 2, mean=1.0, scale=2.0, step=1.0, missing=True)
    table = DataSpec("table", (4,), columns=(number, Column("colour", "category", 2, 2, categories=("a", "b"))))
    for spec in (table, DataSpec("image", (1, 4, 4), levels=17), DataSpec("vector", (3,))):
        noisy, log_q = spec.dequantise(torch.zeros(5, *spec.shape, device="meta"))
        assert noisy.is_meta
        assert log_q.shape == (5,)
