"""Networks over sequences: causal, complete, and their walks equal to whole passes, from any beginning."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from exnihilo.nets.dilated import WaveNet, dilations
from exnihilo.nets.lagged import Lagged, carried, lags_of
from exnihilo.nets.masked import FullWalk
from exnihilo.nets.sequence import Numbers, Recurrent, SequenceNetwork, Tokens, arranged, in_order
from exnihilo.nets.transformer import Transformer

LEVELS = 5


def numbers(channels: int) -> nn.Module:
    return Numbers(channels, 8)


def levels(channels: int) -> nn.Module:
    return Tokens(LEVELS, 8, low=0.0, step=0.25, channels=channels)


def seasonal(network: Lagged) -> Lagged:
    """Looks back by three steps."""
    network.lags.copy_(torch.tensor(lags_of(3)))
    return network


NETWORKS: dict[str, Callable[[], SequenceNetwork]] = {
    "text": lambda: Transformer((9,), LEVELS, width=8, depth=2),
    "grey": lambda: Transformer((1, 3, 4), LEVELS, low=-1.0, step=0.5, width=8, depth=2),
    "colour": lambda: Transformer((3, 2, 2), LEVELS, low=-1.0, step=0.5, width=8, depth=2),
    "wavenet": lambda: WaveNet((1, 12), numbers(1), 3, width=8, skip=16, dilations=[1, 2, 4] * 2, vector=8),
    "wavenet of levels": lambda: WaveNet(
        (1, 12), levels(1), LEVELS, width=8, skip=16, dilations=[1, 2, 4] * 2, vector=8
    ),
    "wavenet of channels": lambda: WaveNet((2, 9), levels(2), LEVELS, width=8, skip=16, dilations=[1, 2, 4], vector=8),
    "lstm": lambda: Recurrent((1, 9), numbers(1), 2, cell="lstm", width=8, depth=2, vector=8),
    "gru of channels": lambda: Recurrent((3, 6), numbers(3), 2, cell="gru", width=8, depth=1, vector=8),
    "lags": lambda: Lagged((1, 9), 2, (0,), cell="lstm", width=8, depth=2, vector=8),
    "lags of channels": lambda: seasonal(Lagged((3, 6), 2, (0,), cell="gru", width=8, depth=1, vector=8)),
    "lstm of levels": lambda: Recurrent((2, 6), levels(2), LEVELS, cell="lstm", width=8, depth=1, vector=8),
}

every_network = pytest.mark.parametrize("name", NETWORKS)


def shaken(name: str) -> SequenceNetwork:
    """In double precision, with weights that leave nothing at zero."""
    torch.manual_seed(0)
    network = NETWORKS[name]().double().eval()
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return network


def examples(name: str, n: int) -> Tensor:
    network = NETWORKS[name]()
    generator = torch.Generator().manual_seed(1)
    index = torch.randint(LEVELS, (n, *network.shape), generator=generator)
    if name == "text":
        return index
    if isinstance(network, Transformer):
        return index.double() / 2 - 1
    if "levels" in name or name == "wavenet of channels":
        return index.double() / 4
    return torch.randn(n, *network.shape, dtype=torch.float64, generator=generator)


def by_entry(network: SequenceNetwork, x: Tensor, vector: Tensor | None) -> Tensor:
    """[B, entries, per_entry] the parameters in order."""
    parameters = network(x, vector)
    spread = parameters.unflatten(1, (-1, network.shape[0]))  # [B, per_entry, *shape]
    return torch.stack([in_order(part) for part in spread.unbind(dim=1)], dim=2)


@every_network
def test_the_order_is_that_of_the_flat_entries(name: str) -> None:
    network, x = NETWORKS[name](), examples(name, 1)
    assert torch.equal(torch.stack([x[(0, *place)] for place in network.order()]), in_order(x)[0])
    parameters = torch.arange(2.0 * x.numel()).view(1, -1, 2)  # [1, entries, 2]
    spread = arranged(parameters, network.shape).unflatten(1, (2, network.shape[0]))
    assert torch.equal(torch.stack([in_order(part) for part in spread.unbind(dim=1)], dim=2), parameters)


@every_network
def test_an_entry_sees_every_entry_before_it_and_none_after(name: str) -> None:
    network, x, vector = shaken(name), examples(name, 8), torch.randn(8, 8, dtype=torch.float64)
    entries = in_order(x).shape[1]
    whole = by_entry(network, x, vector)
    moved = torch.zeros(entries, entries)
    for earlier, place in enumerate(network.order()):
        other = x.clone()
        other[(slice(None), *place)] = another(name, x[(slice(None), *place)])
        moved[:, earlier] = (by_entry(network, other, vector) - whole).detach().abs().amax(dim=(0, 2))
    assert (moved.triu() == 0).all(), "an entry sees itself or a later one"
    assert (moved.tril(-1) > 0).sum() == entries * (entries - 1) // 2, "an earlier entry is out of sight"


def another(name: str, value: Tensor) -> Tensor:
    """Another level, or another number."""
    grids = {"text": (0, 1), "grey": (-1.0, 0.5), "colour": (-1.0, 0.5), "wavenet of levels": (0.0, 0.25)}
    grids |= dict.fromkeys(("wavenet of channels", "lstm of levels"), (0.0, 0.25))
    if name not in grids:
        return value + 0.7
    low, step = grids[name]
    return low + ((value - low) / step + 2) % LEVELS * step


@pytest.mark.parametrize("name", ["wavenet", "lstm", "gru of channels", "lags", "lags of channels"])
def test_causality_by_gradients(name: str) -> None:
    network, x = shaken(name), examples(name, 8).requires_grad_()
    parameters = by_entry(network, x, None)
    for entry, values in enumerate(parameters.unbind(dim=1)):
        gradient = in_order(torch.autograd.grad(values.square().sum(), x, retain_graph=True)[0])
        assert (gradient[:, entry:] == 0).all()
        assert (gradient[:, :entry] != 0).any(dim=0).all()


def test_the_field_of_a_wavenet_is_what_its_gradient_says() -> None:
    torch.manual_seed(0)
    sizes = dilations(2, 3, 40)
    assert sizes == [1, 2, 4, 1, 2, 4]
    assert dilations(1, 9, 5) == [1, 2, 4]
    network = WaveNet((1, 40), numbers(1), 1, width=8, skip=16, dilations=sizes).double()
    nn.init.normal_(network.leave.linear.weight)
    x = torch.randn(1, 1, 40, dtype=torch.float64, requires_grad=True)
    gradient = torch.autograd.grad(network(x)[0, 0, 39], x)[0][0, 0]
    assert network.field == 15
    assert gradient.nonzero()[:, 0].tolist() == list(range(39 - network.field, 39))


@every_network
def test_the_walk_equals_whole_passes(name: str) -> None:
    network, x = shaken(name), examples(name, 3)
    vector = torch.randn(3, 8, dtype=torch.float64)
    short, whole = network.walk(3, vector), FullWalk(network, 3, vector)
    with torch.no_grad():
        for place in network.order():
            torch.testing.assert_close(short.predict(place), whole.predict(place), atol=1e-12, rtol=1e-12)
            short.write(place, x[(slice(None), *place)])
            whole.write(place, x[(slice(None), *place)])
    assert torch.equal(short.x.to(x), x)


@every_network
@pytest.mark.parametrize("steps", [0, 1, 2, 4])
def test_a_walk_goes_on_from_what_it_read(name: str, steps: int) -> None:
    network, x = shaken(name), examples(name, 2)
    vector, rows = torch.randn(2, 8, dtype=torch.float64), torch.tensor([1, 1, 0])
    parameters = by_entry(network, x, vector)[rows]
    with torch.no_grad():
        walk = network.walk(2, vector)
        walk.read(x, steps)
        walk.spread(rows)
        for number, place in enumerate(network.order()):
            if number >= steps * network.channels:
                torch.testing.assert_close(walk.predict(place), parameters[:, number], atol=1e-12, rtol=1e-12)
                walk.write(place, x[rows][(slice(None), *place)])
    assert torch.equal(walk.x.to(x), x[rows])


def test_missing_values_are_seen_as_missing_whatever_stands_there() -> None:
    network, x = shaken("gru of channels"), examples("gru of channels", 1)
    gap, zero = x.clone(), x.clone()
    gap[0, 1, 2], zero[0, 1, 2] = torch.nan, 0.0
    told, untold = by_entry(network, gap, None)[0], by_entry(network, zero, None)[0]
    assert told.isfinite().all()
    torch.testing.assert_close(told[:8], untold[:8])  # up to the step of the gap
    assert ((told[9:] - untold[9:]).abs() > 1e-6).any(dim=1).all()


def test_a_new_transformer_finds_all_tokens_equally_likely() -> None:
    torch.manual_seed(0)
    network = Transformer((32,), 50, width=64, depth=3)
    log_p = network(torch.randint(50, (8, 32))).detach().unflatten(1, (50, 32)).log_softmax(dim=1)
    assert float(log_p.mean(dim=1).mean()) == pytest.approx(-3.912, abs=0.1)


def test_an_untrained_network_with_lags_tells_the_seasonal_naive_forecast() -> None:
    network = seasonal(Lagged((2, 8), 3, (0,), cell="lstm", width=4, depth=1)).double()
    x = torch.randn(4, 2, 8, dtype=torch.float64)
    location, *others = network(x).unflatten(1, (3, 2)).unbind(dim=1)
    torch.testing.assert_close(location[:, :, 3:], x[:, :, :5])  # a season of three ago
    torch.testing.assert_close(location[:, :, 1:3], x[:, :, :2])  # the last value, where there was no season yet
    assert all((other == 0).all() for other in (location[:, :, 0], *others))


def test_a_gap_carries_the_last_value_into_the_lags_and_is_told() -> None:
    gap = torch.tensor([[torch.nan, 1.0, torch.nan, torch.nan, 4.0]])
    assert carried(gap).tolist() == [[0.0, 1.0, 1.0, 1.0, 4.0]]
    network, x = shaken("lags of channels"), examples("lags of channels", 1)
    missing, same = x.clone(), x.clone()
    missing[0, 1, 2], same[0, 1, 2] = torch.nan, x[0, 1, 1]
    told, untold = by_entry(network, missing, None)[0], by_entry(network, same, None)[0]
    torch.testing.assert_close(told[:8], untold[:8])  # up to the channel of the gap
    assert ((told[9:12] - untold[9:12]).abs() > 1e-6).any(dim=1).all()
