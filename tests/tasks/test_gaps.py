from __future__ import annotations

import pytest
import torch

from exnihilo.core import DataError, DataSpec, OptionError
from exnihilo.data import load_data
from exnihilo.tasks.gaps import hide, ready, with_gaps

IMAGE = DataSpec("image", (3, 8, 10), levels=256)
INDEX = torch.arange(400)


def test_random_gaps_take_their_share_and_whole_pixels():
    kept = hide(IMAGE, INDEX, fraction=0.3, seed=1)
    assert kept.shape == (400, 3, 8, 10)
    assert torch.equal(kept[:, 0], kept[:, 2])
    assert kept.float().mean().item() == pytest.approx(0.7, abs=0.01)


def test_a_block_is_one_rectangle_of_its_share():
    hidden = ~hide(IMAGE, INDEX, fraction=0.25, mechanism="block")[:, 0]
    assert (hidden.flatten(1).sum(dim=1) == 4 * 5).all()
    rows, columns = hidden.any(dim=2), hidden.any(dim=1)
    assert torch.equal(hidden, rows[:, :, None] & columns[:, None, :])
    places = rows.int().argmax(dim=1)
    assert set(places.tolist()) == set(range(5)), "everywhere"


@pytest.mark.parametrize("mechanism", ["random", "block"])
def test_gaps_belong_to_the_example(mechanism):
    whole = hide(IMAGE, INDEX, mechanism=mechanism, seed=3)
    assert torch.equal(whole[7:9], hide(IMAGE, torch.tensor([7, 8]), mechanism=mechanism, seed=3))
    assert not torch.equal(whole, hide(IMAGE, INDEX, mechanism=mechanism, seed=4))
    for fraction in (0.01, 0.99):
        kept = hide(IMAGE, INDEX, fraction=fraction, mechanism=mechanism)
        assert kept.flatten(1).any(dim=1).all(), "something is always left"


def test_columns_of_a_table_go_whole_and_flags_stay_known(table):
    frame = table.spec.decode(table.first(50).x)
    frame.loc[3:20, "height"] = float("nan")
    data = load_data(frame)
    kept = hide(data.spec, torch.arange(50), fraction=0.5)
    for column in data.spec.columns:
        own = kept[:, column.slice]
        if column.kind == "category":
            assert (own == own[:, :1]).all()
        elif column.missing:
            assert own[:, 1].all()
    assert any(column.missing for column in data.spec.columns)


def test_data_with_gaps_miss_the_same_in_every_pass(points):
    train = with_gaps(points, fraction=0.4, seed=2).split("train")
    whole, batch = train.first(), train.batch(3, 16, 0)
    assert torch.equal(batch.mask, whole.mask[batch.index])
    assert not whole.x[~whole.mask].any()
    assert torch.equal(whole.x[whole.mask], points.split("train").first().x[whole.mask])


def test_a_missing_number_is_asked_for_as_if_it_were_there():
    data = load_data([[1.0, 2.0]] * 10)
    assert data.spec.shape == (2,)
    import pandas as pd

    frame = pd.DataFrame({"a": [1.0, None, 3.0, 4.5] * 5, "b": [1.5, 2.0, 0.5, 1.0] * 5})
    data = load_data(frame)
    batch = data.first()
    flag = data.spec.columns[0].start + 1
    assert batch.x[1, flag] == 1
    x, mask = ready(data.spec, batch.x, batch.mask)
    assert not x[:, flag].any()
    assert mask[:, flag].all()
    assert not mask[1, flag - 1]


def test_mistakes_are_told():
    x = torch.zeros(3, 3, 8, 10)
    for wrong in (torch.ones(3, dtype=torch.bool), torch.ones(3, 3, 8, 10)):
        with pytest.raises(DataError, match=r"must be shaped as x.*type bool"):
            ready(IMAGE, x, wrong)
    empty = torch.ones(3, 3, 8, 10, dtype=torch.bool)
    empty[2] = False
    with pytest.raises(DataError, match="Row 2: every value is missing"):
        ready(IMAGE, x, empty)
    with pytest.raises(DataError, match="do not fit data of shape"):
        ready(IMAGE, x[:, :1], empty[:, :1])
    with pytest.raises(OptionError, match=r"fraction=1.5 is not allowed"):
        hide(IMAGE, INDEX, fraction=1.5)
    with pytest.raises(OptionError, match="mechanism=clouds is not allowed"):
        hide(IMAGE, INDEX, mechanism="clouds")
    with pytest.raises(DataError, match="one column only"):
        hide(DataSpec("vector", (1,)), INDEX)
