"""FVSBN, NADE and MADE: golden values, sums to one, orders, and what linear regressions find."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from exnihilo.core import Batch, DataSpec, GenerativeModel, ModelError, Noise, OptionError, create
from exnihilo.data import load_data
from exnihilo.models.autoregressive.family import Autoregressive
from exnihilo.models.autoregressive.orders import AutoregressiveOrders, OrderAgnostic, orders, random_degrees
from exnihilo.nets.masked import MADE, FullWalk, at
from exnihilo.nets.nade import NADE, NADECell
from exnihilo.training import load_model, train

BINARY = DataSpec("vector", (6,), levels=2)
LABELLED = DataSpec("vector", (4,), levels=2, classes=2, class_shares=(0.7, 0.3))
CONTINUOUS = DataSpec("vector", (2,))
CASES: list[tuple[str, dict[str, object]]] = [
    ("fvsbn", {}),
    ("nade", {"width": 5}),
    ("nade", {"width": 5, "depth": 2}),
    ("nade", {"width": 5, "orderings": 3}),
    ("made", {"width": 9}),
    ("made", {"width": 9, "depth": 2}),
    ("made", {"width": 9, "depth": 2, "masks": 3}),
]
every_case = pytest.mark.parametrize(("name", "options"), CASES, ids=str)


def shaken(name: str, spec: DataSpec, *, by: float = 0.7, **options: object) -> Autoregressive:
    """A model with random weights, in double precision."""
    torch.manual_seed(0)
    model = create(name, spec, **options).double()
    for weight in model.parameters():
        weight.data += by * torch.randn_like(weight)
    assert isinstance(model, Autoregressive)
    return model


def states(entries: int) -> Tensor:
    """All vectors of zeros and ones."""
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=entries))).double()


def networks(model: Autoregressive) -> list[MADE | NADE]:
    return model.networks if isinstance(model, AutoregressiveOrders) else [model.network]  # type: ignore


def test_golden_nade():
    """Likelihood card G3."""
    i, j = torch.arange(3)[None], torch.arange(5)[:, None]  # hidden, entries
    model = create("nade", DataSpec("vector", (5,), levels=2), width=3).double()
    cell = model.network.cell
    cell.weight.data = 0.4 * torch.cos((2 * i + j).double())
    cell.bias.data = torch.tensor([0.1, -0.2, 0.3]).double()
    cell.leave_weight.data = 0.5 * torch.sin((j + 3 * i).double())[:, None]
    cell.leave_bias.data = 0.05 * torch.arange(5).double()[:, None]
    with torch.no_grad():
        golden = model.log_prob(torch.tensor([[1.0, 0, 1, 1, 0]]).double())
        assert float(golden) == pytest.approx(-3.32387114, abs=1e-8)
        assert float(model.log_prob(states(5)).exp().sum()) == pytest.approx(1, abs=1e-12)


@every_case
def test_probabilities_of_all_states_sum_to_one(name: str, options: dict[str, object]):
    model = shaken(name, BINARY, **options)
    with torch.no_grad():
        assert float(model.log_prob(states(6)).exp().sum()) == pytest.approx(1, abs=1e-10)


@every_case
def test_classes_are_mixed_by_their_shares(name: str, options: dict[str, object]):
    model = shaken(name, LABELLED, conditional=True, **options)
    x = states(4)
    with torch.no_grad():
        each = [model.log_prob(x, label=torch.full((16,), c)).exp() for c in (0, 1)]
        torch.testing.assert_close(model.log_prob(x).exp(), 0.7 * each[0] + 0.3 * each[1], atol=1e-7, rtol=1e-6)
    for p in each:
        assert float(p.sum()) == pytest.approx(1, abs=1e-10)
    assert (each[0] - each[1]).abs().max() > 1e-3
    assert each[0][0] != each[1][0]


@pytest.mark.parametrize("name", ["nade", "made"])
@pytest.mark.parametrize("options", [{}, {"components": 1}, {"components": 3}], ids=str)
def test_densities_integrate_to_one(name: str, options: dict[str, object]):
    model = shaken(name, CONTINUOUS, by=0.3, width=6, **options)
    axis = torch.linspace(-20, 20, 700).double()
    grid = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        total = model.log_prob(grid).exp().sum() * (axis[1] - axis[0]) ** 2
    assert float(total) == pytest.approx(1, abs=1e-2)
    assert not model.mass
    assert "score" in model.capabilities


@every_case
def test_an_entry_sees_those_before_it_in_its_order(name: str, options: dict[str, object]):
    model = shaken(name, BINARY, **{**options, **({"width": 30} if options else {})})
    for network in networks(model):
        x = torch.rand(1, 6).double()
        jacobian = torch.autograd.functional.jacobian(lambda x, net=network: net(x, None), x)[0, :, 0].view(6, 6)
        order = [place[0] for place in network.order()]
        assert (jacobian[order][:, order].triu() == 0).all()
        past = jacobian[order][:, order][torch.ones(6, 6).tril(-1).bool()]
        assert (past != 0).float().mean() > 0.8  # rectified units may sleep


@every_case
def test_walks_equal_whole_passes(name: str, options: dict[str, object]):
    for spec in (LABELLED, DataSpec("image", (2, 2, 3), levels=5, classes=2), DataSpec("vector", (5,), classes=2)):
        if name == "fvsbn" and not spec.levels:
            continue
        model = shaken(name, spec, conditional=True, **options)
        vector = model._vector(3, torch.tensor([0, 1, -1]))
        for network in networks(model):
            short, full = network.walk(3, vector), FullWalk(network, 3, vector)
            noise_short, noise_full = Noise(0, 3), Noise(0, 3)
            with torch.no_grad():
                for place in network.order():
                    a, b = short.predict(place), full.predict(place)
                    torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-10)
                    short.write(place, model.likelihood.draw(a, noise_short)[:, 0])
                    full.write(place, model.likelihood.draw(b, noise_full)[:, 0])
            assert not isinstance(short, FullWalk)
            torch.testing.assert_close(short.x, full.x)


@pytest.mark.parametrize(
    ("name", "options"), [("made", {"width": 9, "masks": 3}), ("nade", {"width": 5, "orderings": 3}), ("fvsbn", {})]
)
def test_samples_follow_the_probabilities(name: str, options: dict[str, object]):
    model, n = shaken(name, DataSpec("vector", (4,), levels=2), **options).float(), 20000
    model.chunk = n
    code = model.sample(n, seed=0).long() @ (2 ** torch.arange(3, -1, -1))
    found = torch.bincount(code, minlength=16) / n
    with torch.no_grad():
        exact = model.log_prob(states(4).float()).exp()
    assert 0.5 * (found - exact).abs().sum() < 3 * math.sqrt(16 / (2 * math.pi * n))


def test_cumulative_sums_are_the_loop():
    """O(D H): a is carried from entry to entry, in any order."""
    torch.manual_seed(0)
    cell = NADECell(6, 2, width=4, rescaled=True, agnostic=True).double()
    for weight in cell.parameters():
        weight.data = torch.randn_like(weight)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    x = torch.randn(7, 6).double()
    a, answers = cell.bias.expand(7, -1), torch.zeros(7, 2, 6).double()
    for known, entry in enumerate(order.tolist()):
        h = torch.sigmoid(cell.scale[known] * a)
        answers[:, :, entry] = h @ cell.leave_weight[entry].T + cell.leave_bias[entry]
        a = a + x[:, entry, None] * cell.weight[entry] + cell.presence[entry]
    torch.testing.assert_close(NADE(cell, (6,), order)(x).view(7, 2, 6), answers, atol=1e-10, rtol=1e-10)


def test_the_order_agnostic_loss_is_unbiased():
    """Likelihood card 4.2: its mean over all d and o is the mean of -log p_o over the 24 orders."""
    model = shaken("nade", DataSpec("vector", (4,), levels=2), width=3, orderings=2)
    assert isinstance(model, OrderAgnostic)
    x = states(4)[torch.tensor([3, 9, 14])]
    exact, estimates = [], []
    with torch.no_grad():
        for order in itertools.permutations(range(4)):
            network = NADE(model.cell, (4,), torch.tensor(order))
            exact.append(-model.likelihood.log_prob(network(x), x))
            for known in range(4):
                mask = torch.zeros(3, 4).double()
                mask[:, list(order[:known])] = 1
                estimates.append(model.estimate(x, mask))
    torch.testing.assert_close(torch.stack(estimates).mean(dim=0), torch.stack(exact).mean(dim=0))
    with torch.no_grad():  # Jensen
        each = torch.stack([model._along(network, x, None) for network in model.networks])
        assert (model.log_prob(x) >= each.mean(dim=0)).all()
        torch.testing.assert_close(model.log_prob(x), each.exp().mean(dim=0).log())


def test_gaps_of_any_shape_are_drawn_given_all_that_is_known():
    model = shaken("nade", DataSpec("vector", (4,), levels=2), width=3, orderings=2).float()
    assert isinstance(model, OrderAgnostic)
    n = 20000
    x = torch.tensor([1.0, 0, 0, 1]).expand(n, -1)
    mask = torch.tensor([False, True, True, True]).expand(n, -1)
    filled = model.impute(x, mask, seed=0)
    assert torch.equal(filled[mask], x[mask])
    with torch.no_grad():
        logit = model.cell.given(x[:1] * mask[:1], mask[:1].float(), None)[0, 0, 0]
    assert float(filled[:, 0].mean()) == pytest.approx(float(logit.sigmoid()), abs=4 * 0.5 / math.sqrt(n))
    mixed = torch.rand(50, 4) > 0.5
    again = model.impute(x[:50], mixed, seed=1)
    assert torch.equal(again[mixed], x[:50][mixed])
    assert ((again == 0) | (again == 1)).all()


def test_masks_share_weights_but_not_orders():
    model = shaken("made", BINARY, width=12, depth=2, masks=4)
    assert isinstance(model, AutoregressiveOrders)
    first, *others = networks(model)
    assert [place[0] for place in first.order()] == list(range(6))
    assert len({tuple(network.order()) for network in model.networks}) == 4
    for other in others:
        assert isinstance(other, MADE)
        assert other.leave.weight is first.leave.weight
        assert not torch.equal(other.layers[1].mask, first.layers[1].mask)
    alone = create("made", BINARY, width=12, depth=2)
    assert sum(weight.numel() for weight in model.parameters()) == sum(w.numel() for w in alone.parameters())


def test_orders_and_degrees_are_facts_not_chance():
    assert torch.equal(orders(7, 3), orders(7, 3))
    assert torch.equal(orders(7, 3)[0], torch.arange(7))
    assert torch.equal(orders(7, 3).sort(dim=1).values, torch.arange(7).expand(3, -1))
    lower, upper = random_degrees(500, 2, 7, 5)
    assert lower.min() >= 1
    assert upper.min() >= lower.min()
    assert max(lower.max(), upper.max()) <= 6
    assert len(lower.unique()) == 6
    assert random_degrees(500, 1, 7, 5, lowest=0)[0].min() == 0


@pytest.mark.parametrize(("name", "options"), [("made", {"masks": 3}), ("nade", {"orderings": 3})])
def test_several_orders_train_save_and_load(name: str, options: dict[str, int], tmp_path):
    rng = np.random.default_rng(0)
    first = rng.integers(0, 2, size=(300, 1))
    data = load_data(np.concatenate([first, first, rng.integers(0, 2, size=(300, 2))], axis=1))
    model = create(name, data, width=64, **options)
    run = train(model, data, steps=400, seed=0, out=tmp_path / "run", threads=1, progress=False)
    x = data.split("test").first(40).x
    with torch.no_grad():
        nats = -float(run.model.log_prob(x).mean())
        assert nats < 3.5 * math.log(2), "two entries are equal: 3 ln 2 is the floor, 4 ln 2 is chance"
        loaded: GenerativeModel = load_model(tmp_path / "run")
        torch.testing.assert_close(loaded.log_prob(x), run.model.log_prob(x))
    assert torch.equal(loaded.sample(9, seed=1), run.model.sample(9, seed=1))
    alone = run.model.sample(1, seed=Noise(1, [5]))
    assert torch.equal(run.model.sample(9, seed=1)[5:6], alone)


def test_every_row_of_fvsbn_is_a_logistic_regression():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x = np.zeros((400, 4))
    for entry in range(4):
        logit = 0.3 + x[:, :entry] @ np.array([1.5, -1.0, 0.7])[:entry]
        x[:, entry] = rng.random(400) < 1 / (1 + np.exp(-logit))
    decay = 0.5
    model = create("fvsbn", DataSpec("vector", (4,), levels=2)).double()
    layer = model.network.leave
    batch = Batch(torch.from_numpy(x))
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=200, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = 400 * model.loss(batch)["nats"] + 0.5 * decay * (layer.weight * layer.mask).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    weight = (layer.weight * layer.mask).detach().numpy()
    for entry in range(1, 4):
        fitted = LogisticRegression(C=1 / decay, tol=1e-8, max_iter=1000).fit(x[:, :entry], x[:, entry])
        np.testing.assert_allclose(weight[entry, :entry], fitted.coef_[0], atol=1e-3)
        np.testing.assert_allclose(float(layer.bias[entry].detach()), fitted.intercept_[0], atol=1e-3)


def test_what_cannot_be_is_refused():
    with pytest.raises(ModelError, match="continuous"):
        create("fvsbn", CONTINUOUS)
    with pytest.raises(OptionError, match="labels"):
        create("made", BINARY, conditional=True)


def test_a_place_that_is_written_is_where_it_was_asked():
    """Places of pictures: entries by their number in raster order, whatever the order of the network."""
    model = shaken("made", DataSpec("image", (2, 3, 2), levels=3), width=40, masks=2)
    network = networks(model)[1]
    x = torch.randn(1, 2, 3, 2).double().requires_grad_()
    places = list(network.order())
    parameters = network(x, None).unflatten(1, (-1, 2))
    for rank in (0, 5, 11):
        value = parameters[at((slice(None), *places[rank]))].square().sum()
        gradient = torch.autograd.grad(value, x, retain_graph=True)[0][0]
        assert all(gradient[place] == 0 for place in places[rank:])
        assert rank == 0 or any(gradient[place] != 0 for place in places[:rank])


def test_gaps_with_classes_are_weighed_by_what_is_known():
    """Of two classes the known entry says which: a completion must not come from the other by its share."""
    model = shaken(
        "nade", DataSpec("vector", (2,), levels=2, classes=2), width=3, orderings=2, conditional=True
    ).float()
    n = 3000
    x, mask = torch.tensor([[0.0, 1.0]]).expand(n, -1), torch.tensor([[False, True]]).expand(n, -1)
    with torch.no_grad():
        p = model.log_prob(torch.tensor([[0.0, 1.0], [1.0, 1.0]])).exp()
    filled = model.impute(x, mask, seed=0)
    assert float(filled[:, 0].mean()) == pytest.approx(float(p[1] / p.sum()), abs=0.05)
