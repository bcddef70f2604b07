"""MADE of tables: mixed columns one after the other, normalised, causal, sampled and imputed as it says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from exnihilo.core import Batch, Column, DataSpec, ModelError, OptionError, create
from exnihilo.data import load_data
from exnihilo.models.autoregressive.family import Autoregressive
from exnihilo.models.autoregressive.tables import AutoregressiveTable

COLUMNS = (
    Column("colour", "category", 0, 3, categories=("red", "green", "blue")),
    Column("mass", "number", 3, 2, missing=True),
    Column("size", "number", 5),
    Column("shape", "category", 6, 2, categories=("round", "square")),
)
SPEC = DataSpec("table", (8,), columns=COLUMNS, classes=2, class_shares=(0.7, 0.3))


def shaken(spec: DataSpec = SPEC, by: float = 0.3, **options: object) -> AutoregressiveTable:
    """A model with random weights, in double precision."""
    torch.manual_seed(0)
    model = create("made", spec, width=16, **options).double()
    for weight in model.parameters():
        weight.data += by * torch.randn_like(weight)
    assert isinstance(model, AutoregressiveTable)
    return model


def rows(colour: int, shape: int, gone: float, mass: Tensor, size: Tensor) -> Tensor:
    x = torch.zeros(len(mass), 8, dtype=torch.float64)
    x[:, colour] = x[:, 6 + shape] = 1
    x[:, 3], x[:, 4], x[:, 5] = mass, gone, size
    return x


@pytest.mark.parametrize("options", [{}, {"components": 1, "depth": 2}, {"conditional": True}], ids=str)
def test_rows_sum_and_integrate_to_one(options: dict[str, object]):
    model = shaken(by=0.15, **options)  # by more, sigmas beside far values would leave the grid
    line = torch.linspace(-12, 12, 160, dtype=torch.float64)
    mass, size = torch.cartesian_prod(line, line).unbind(1)
    total = 0.0
    with torch.no_grad():
        for colour in range(3):
            for shape in range(2):
                for gone in (0.0, 1.0):
                    total += float(model.log_prob(rows(colour, shape, gone, mass, size)).exp().sum())
    assert total * (24 / 159) ** 2 == pytest.approx(1, abs=1e-3)
    assert not model.mass


def test_a_density_of_the_row_is_one_of_the_spread_row():
    model = shaken()
    x = rows(1, 0, 0.0, torch.tensor([0.3, -1.0]).double(), torch.tensor([0.1, 2.0]).double())
    spread = x.clone()
    for column in (0, 1, 2, 4, 6, 7):
        spread[:, column] += 0.49 * (2 * torch.rand(2) - 1)
    torch.testing.assert_close(model.log_prob(spread), model.log_prob(x))
    gone = rows(1, 0, 1.0, torch.tensor([0.3]).double(), torch.tensor([0.1]).double())
    filled = gone.clone()
    filled[:, 3] = 1.7  # the filler's own density and nothing else
    normal = torch.distributions.Normal(0.0, 1.0).log_prob
    difference = normal(torch.tensor(1.7)) - normal(torch.tensor(0.3))
    assert float((model.log_prob(filled) - model.log_prob(gone)).detach()) == pytest.approx(float(difference), abs=1e-6)


def test_a_column_sees_those_before_it_alone():
    model = shaken()
    x = rows(2, 1, 0.0, torch.randn(40).double(), torch.randn(40).double())
    changed = x.clone()
    changed[:, 5] += 1  # size, the third of the columns
    with torch.no_grad():
        one, other = (model.network(part)[:, :] for part in (x, changed))
    for column in COLUMNS:
        _, block = model.network.heads.at((column.slice,))
        same = torch.equal(one[:, block.of(column)], other[:, block.of(column)])
        assert same == (column.name != "shape"), column.name


def test_samples_follow_the_density():
    model, n = shaken().float(), 20000
    model.chunk = n
    x = model.sample(n, seed=0)
    assert ((x[:, :3].sum(dim=1) == 1) & (x[:, 6:].sum(dim=1) == 1)).all()
    assert (x[x[:, 4] == 1, 3] == 0).all()
    first = model.network(x[:1])[0, model.network.heads.at((slice(0, 3),))[1].of(COLUMNS[0])].softmax(dim=0)
    torch.testing.assert_close(x[:, :3].mean(dim=0), first.detach(), atol=0.015, rtol=0)
    # the entropy is the mean of -log p over the samples, also of any part of them: E[q / p] = 1 for another model q
    other = shaken(by=0.31).float()
    full, _ = model.spec.dequantise(x)
    with torch.no_grad():
        ratio = (other.log_prob(full) - model.log_prob(full)).exp()
    assert float(ratio.mean()) == pytest.approx(1, abs=4 * float(ratio.std()) / n**0.5)
    assert float(ratio.std()) / n**0.5 < 0.02
    assert float(ratio.std()) > 0.01


def test_gaps_at_the_end_are_drawn_given_the_rest():
    model, n = shaken().float(), 20000
    x = rows(2, 1, 0.0, torch.full((n,), 0.4), torch.full((n,), -0.3)).float()
    mask = torch.ones(n, 8, dtype=torch.bool)
    mask[:, 6:] = False
    filled = model.impute(x, mask, seed=0)
    assert torch.equal(filled[mask], x[mask])
    with torch.no_grad():
        each = torch.stack([model.log_prob(rows(2, s, 0.0, x[:1, 3], x[:1, 5]).float()) for s in (0, 1)]).exp()
    assert float(filled[:, 7].mean()) == pytest.approx(float(each[1] / each.sum()), abs=0.015)


def test_gaps_before_are_weighed_by_what_comes_after():
    """The first column from the last: Bayes' rule, within what sixteen completions can do."""
    model, n = shaken(by=0.6).float(), 6000
    x = rows(0, 1, 0.0, torch.full((n,), 0.4), torch.full((n,), -0.3)).float()
    mask = torch.ones(n, 8, dtype=torch.bool)
    mask[:, :3] = False
    filled = model.impute(x, mask, seed=0)
    with torch.no_grad():
        each = torch.stack([model.log_prob(rows(c, 1, 0.0, x[:1, 3], x[:1, 5]).float())[0] for c in range(3)])
    torch.testing.assert_close(filled[:, :3].mean(dim=0), each.softmax(dim=0), atol=0.06, rtol=0)


def test_a_number_whose_presence_is_known_is_drawn_as_present():
    model = shaken().float()
    x = rows(2, 1, 0.0, torch.zeros(500), torch.zeros(500)).float()
    mask = torch.ones(500, 8, dtype=torch.bool)
    mask[:, 3] = False  # the flag is known: it is there
    filled = model.impute(x, mask, seed=0)
    assert (filled[:, 4] == 0).all()
    assert (filled[:, 3] != 0).all()


def test_it_learns_what_columns_have_to_do_with_each_other():
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 3, size=1500)
    mass = np.where(rng.random(1500) < 0.2, np.nan, 3.0 * colour + 0.3 * rng.normal(size=1500))
    frame = pd.DataFrame({"mass": mass, "colour": np.array(["red", "green", "blue"])[colour]})
    data = load_data(frame)
    torch.manual_seed(0)
    model = create("made", data, width=64)
    assert isinstance(model, Autoregressive)
    x = data.split("train").first().x
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(300):
        optimizer.zero_grad()
        model.loss(Batch(x))["nats"].backward()
        optimizer.step()
    test = data.split("test").first().x
    mask = torch.ones_like(test, dtype=torch.bool)
    place = next(column for column in data.spec.columns if column.name == "colour")
    mask[:, place.slice] = False
    there = test[:, 1] == 0
    filled = model.impute(test, mask, seed=0)
    right = (filled[:, place.slice].argmax(dim=1) == test[:, place.slice].argmax(dim=1)).float()
    assert right[there].mean() > 0.95
    assert right[~there].mean() < 0.7


def test_finite_at_extremes_and_in_half_precision():
    model = shaken().float()
    x = rows(2, 1, 0.0, torch.tensor([1e6, -1e6]), torch.tensor([-1e6, 1e6])).float().requires_grad_()
    model.log_prob(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model.log_prob(x.detach())
    assert half.dtype == torch.float32
    assert half.isfinite().all()


def test_what_does_not_suit_tables_is_refused():
    with pytest.raises(OptionError, match="keep their order"):
        create("made", SPEC, masks=2)
    for name in ("nade", "fvsbn"):
        with pytest.raises(ModelError, match=r"belong together.*made"):
            create(name, SPEC)
