"""The best tree and the hidden Markov chain against brute force and the cards' golden values."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pandas as pd
import pytest
import torch

import exnihilo.models  # noqa: F401
from exnihilo.core import DataSpec, GenerativeModel, ModelError, create, seeded
from exnihilo.data import load_data
from exnihilo.data.dataset import Dataset, InMemory, assemble
from exnihilo.data.splits import deal
from exnihilo.models.classical import HMM, CategoricalEmission, ChowLiu, GaussianEmission
from exnihilo.models.classical.tree import spanning_tree
from exnihilo.training import load_model, train

torch.set_num_threads(1)

DIGITS, VECTORS = load_data("digits"), load_data("moons", n=100)


def solve(model: GenerativeModel, data: Dataset) -> GenerativeModel:
    (stage,) = model.stages()
    with seeded("solve"):
        assert stage.enter is not None
        stage.enter(data.split("train"))
    return model


def bits() -> Dataset:
    """Digits of two values."""
    return load_data((DIGITS.first().x.squeeze(1).numpy() >= 0).astype(np.uint8))


def series(x: torch.Tensor, levels: int = 0) -> Dataset:
    spec = DataSpec("series", tuple(x.shape[1:]), levels)
    return assemble(spec, InMemory(x.float()), deal([f"row {row}" for row in range(len(x))], None, None))


# -- trees -----------------------------------------------------------------------------------------------------------


def binary(n: int, size: int, seed: int = 0) -> np.ndarray:
    """A chain: every bit repeats the one before with probability 0.8."""
    rng = np.random.default_rng(seed)
    flips = rng.random((n, size)) < np.where(np.arange(size) > 0, 0.2, 0.4)
    return np.bitwise_xor.accumulate(flips.astype(np.uint8), axis=1)


def states(n: int) -> torch.Tensor:
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=n)))


CHAIN = load_data(binary(5000, 7))


def test_a_tree_finds_the_chain_that_made_the_data():
    model = solve(create("chow_liu", CHAIN), CHAIN)
    edges = {frozenset((d, p)) for d, p in enumerate(model.parent.tolist()) if d != p}
    assert edges == {frozenset((d, d + 1)) for d in range(6)}
    repeats = [model.table[d, 0, 0].item() for d in range(1, 7)]
    assert all(abs(share - 0.8) < 0.03 for share in repeats)


def test_a_trees_likelihood_is_entropies_less_information():
    """Without smoothing the mean log p of the training data is -sum H(x_d) + sum of I over the edges."""
    model = solve(create("chow_liu", CHAIN, smoothing=1e-6), CHAIN)
    x = CHAIN.split("train").first().x
    on = x.double().mean(dim=0)
    entropy = -(torch.xlogy(on, on) + torch.xlogy(1 - on, 1 - on)).sum()
    information = 0.0
    for d, p in enumerate(model.parent.tolist()):
        if d == p:
            continue
        joint = torch.tensor([[((x[:, d] == a) & (x[:, p] == b)).double().mean() for b in (0, 1)] for a in (0, 1)])
        apart = joint.sum(dim=1, keepdim=True) * joint.sum(dim=0, keepdim=True)
        information += (joint * (joint / apart).log()).sum().item()
    assert model.log_prob(x.double()).mean().item() == pytest.approx(-entropy.item() + information, abs=1e-6)


def test_a_trees_masses_sum_to_one_and_its_samples_follow_them():
    model = solve(create("chow_liu", CHAIN), CHAIN)
    p = model.log_prob(states(7).double()).exp()
    assert p.sum().item() == pytest.approx(1, abs=1e-12)
    n = 20_000
    place = (model.sample(n, seed=0) * 2 ** torch.arange(6, -1, -1)).sum(dim=1).long()
    frequency = place.bincount(minlength=128) / n
    assert (frequency - p).abs().sum() / 2 < 3 * math.sqrt(128 / (2 * math.pi * n))


def test_a_tree_imputes_as_the_sum_over_all_states_says():
    model = solve(create("chow_liu", CHAIN), CHAIN)
    n = 40_000
    x = torch.tensor([[1.0, 0, 0, 1, 0, 0, 1]]).expand(n, -1)
    mask = torch.tensor([False, True, False, True, False, False, True]).expand(n, -1)
    every = states(7)
    fits = (every[:, mask[0]] == x[0, mask[0]]).all(dim=1)
    p = torch.where(fits, model.log_prob(every.double()).exp(), 0.0)
    p = p / p.sum()
    filled = model.impute(x, mask)
    frequency = (filled * 2 ** torch.arange(6, -1, -1)).sum(dim=1).long().bincount(minlength=128) / n
    assert frequency[~fits].sum() == 0
    assert (frequency - p).abs().sum() / 2 < 3 * math.sqrt(int(fits.sum()) / (2 * math.pi * n))


def test_a_tree_on_binary_digits():
    """The card's figure (section 9) is 20.56 nats on another split; independent pixels have 24.8."""
    data = bits()
    model = solve(create("chow_liu", data), data)
    x = data.split("test").first().x
    assert -model.log_prob(x).mean().item() == pytest.approx(20.56, rel=0.04)
    assert set(model.sample(5, seed=0).unique().tolist()) <= {-1.0, 1.0}


@pytest.mark.parametrize("bins", [3, 4, 64])
def test_levels_in_groups_have_masses_that_sum_to_one(bins):
    """Two pixels of ten levels, summed over all hundred pictures; grouped, the marginals stay those of the data."""
    rng = np.random.default_rng(0)
    first = rng.integers(0, 10, size=2000)
    second = np.clip(first + rng.integers(-1, 2, size=2000), 0, 9)
    data = load_data(np.stack([first, second], axis=1).reshape(-1, 1, 2).astype(np.uint8), kind="image", levels=10)
    model = solve(create("chow_liu", data, bins=bins), data)
    every = data.spec.from_levels(torch.cartesian_prod(torch.arange(10), torch.arange(10))).view(100, 1, 1, 2)
    p = model.log_prob(every.double()).exp()
    assert p.sum().item() == pytest.approx(1, abs=1e-12)
    levels = data.spec.to_levels(data.split("train").first().x).view(-1, 2)
    share = levels[:, 1].bincount(minlength=10) / len(levels)
    torch.testing.assert_close(p.view(10, 10).sum(dim=0).float(), share, atol=0.01, rtol=0)
    drawn = data.spec.to_levels(model.sample(20_000, seed=0)).view(-1, 2)
    frequency = (drawn[:, 0] * 10 + drawn[:, 1]).bincount(minlength=100) / 20_000
    assert (frequency - p).abs().sum() / 2 < 3 * math.sqrt(100 / (2 * math.pi * 20_000))
    if bins == 64:
        assert model.log_prob(every[9:10].double()) < -8  # 0 beside 9 never was


def test_a_tree_of_categories():
    rng = np.random.default_rng(0)
    colour = rng.choice(["red", "green", "blue"], size=1000)
    taste = np.where(rng.random(1000) < 0.9, np.where(colour == "red", "sweet", "sour"), "sweet")
    data = load_data(pd.DataFrame({"colour": colour, "taste": taste, "size": rng.choice(["S", "M"], size=1000)}))
    model = solve(create("chow_liu", data), data)
    assert isinstance(model, ChowLiu)
    assert {frozenset((d, p)) for d, p in enumerate(model.parent.tolist())} >= {frozenset((0, 1))}
    places = torch.cartesian_prod(torch.arange(3), torch.arange(2), torch.arange(2))
    assert model.log_prob(model.place(places).double()).exp().sum().item() == pytest.approx(1, abs=1e-12)
    frame = data.spec.decode(model.sample(2000, seed=0))
    sweet = (frame[frame["colour"] == "red"]["taste"] == "sweet").mean()
    assert sweet > 0.97
    x = data.split("test").first().x
    mask = torch.ones_like(x, dtype=torch.bool)
    mask[:, data.spec.columns[1].slice] = False
    guessed = data.spec.decode(model.impute(x, mask))
    assert (guessed["taste"] == data.spec.decode(x)["taste"]).mean() > 0.8


def test_a_tree_refuses_what_is_continuous_or_too_large():
    with pytest.raises(ModelError, match=r"these are continuous\. Use gmm"):
        create("chow_liu", VECTORS)
    frame = pd.DataFrame({"colour": ["a", "b"] * 20, "mass": np.random.default_rng(0).normal(size=40)})
    with pytest.raises(ModelError, match="these columns hold numbers: mass"):
        create("chow_liu", load_data(frame))
    with pytest.raises(ModelError, match="4096 are too many"):
        create("chow_liu", DataSpec("image", (1, 64, 64), 256))


def test_the_spanning_tree_takes_the_heaviest_edges():
    weights = torch.tensor([[0, 5, 1, 0], [5, 0, 2, 0], [1, 2, 0, 3], [0, 0, 3, 0]]).double()
    order, parent = spanning_tree(weights)
    assert order.tolist() == [0, 1, 2, 3]
    assert parent.tolist() == [0, 0, 1, 2]


# -- hidden chains ---------------------------------------------------------------------------------------------------


def golden_hmm() -> HMM:
    """Likelihood card G9: series [1, 5] of two levels."""
    model = HMM(3, CategoricalEmission(3, 1, 2, 0.0, 1.0))
    model.spec = DataSpec("series", (1, 5), 2)
    model.log_start.copy_(torch.tensor([0.5, 0.3, 0.2]).log())
    model.log_transition.copy_(torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.25, 0.25, 0.5]]).log())
    model.emission.log_table.copy_(torch.tensor([[0.8, 0.2], [0.4, 0.6], [0.1, 0.9]])[:, None].log())
    return model


def test_hmm_golden_values():
    model, x = golden_hmm(), torch.tensor([[[0.0, 1, 1, 0, 1]]], dtype=torch.float64)
    assert model.mass
    assert model.log_prob(x).item() == pytest.approx(-3.67755324, abs=1e-6)
    path, log_p = model.path(x)
    assert path.tolist() == [[0, 1, 1, 1, 1]]
    assert log_p.item() == pytest.approx(-6.50697312, abs=1e-6)
    assert model.log_prob(states(5)[:, None].double()).exp().sum().item() == pytest.approx(1, abs=1e-6)


def test_hmm_imputes_as_the_sum_over_all_series_says():
    model, n = golden_hmm(), 20_000
    x = torch.tensor([[[0.0, 1, 1, 0, 1]]], dtype=torch.float64).expand(n, -1, -1)
    mask = torch.tensor([True, False, True, False, False]).expand(n, 1, -1)
    every = states(5).double()
    fits = (every[:, mask[0, 0]] == x[0, 0, mask[0, 0]]).all(dim=1)
    p = torch.where(fits, model.log_prob(every[:, None]).exp(), 0.0)
    p = p / p.sum()
    filled = model.impute(x, mask)[:, 0]
    frequency = (filled * 2 ** torch.arange(4, -1, -1)).sum(dim=1).long().bincount(minlength=32) / n
    assert (frequency - p).abs().sum() / 2 < 3 * math.sqrt(8 / (2 * math.pi * n))


def test_expectation_maximisation_never_falls():
    x = golden_hmm().sample(200, seed=0).double()
    model = HMM(3, CategoricalEmission(3, 1, 2, 0.0, 1.0))
    model.spec = golden_hmm().spec
    with seeded("begin"):
        model._begin(model.frames(x))
    figures = []
    for _ in range(30):
        model.climb(model.frames(x), 1)
        figures.append(model.log_prob(x).mean().item())
    assert all(later >= earlier - 1e-9 for earlier, later in itertools.pairwise(figures))
    assert figures[-1] > figures[0] + 0.01


def walk(n: int, time: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Series of two numbers in three states that last, and the states."""
    generator = torch.Generator().manual_seed(0)
    stay = torch.rand(n, time, generator=generator) < 0.9
    jump = torch.randint(1, 3, (n, time), generator=generator)
    state = torch.where(stay, 0, jump).cumsum(dim=1) % 3
    means = torch.tensor([[0.0, 2], [2, 0], [-2, -1]])
    x = means[state] + 0.7 * torch.randn(n, time, 2, generator=generator)
    return x.mT.contiguous(), state


def test_hmm_recovers_states_that_made_the_series():
    x, state = walk(120, 40)
    data = series(x)
    model = create("hmm", data, states=3)
    run = train(model, data, steps=1, threads=1, progress=False)
    assert run.status == "finished"
    assert isinstance(model.emission, GaussianEmission)
    path = model.path(x)[0]
    counts = torch.zeros(3, 3).index_put((path.flatten(), state.flatten()), torch.tensor(1.0), accumulate=True)
    names = counts.argmax(dim=1)
    assert sorted(names.tolist()) == [0, 1, 2]
    assert (names[path] == state).double().mean() > 0.97
    stay = model.log_transition.exp().diagonal()
    torch.testing.assert_close(stay, torch.full_like(stay, 0.9), atol=0.03, rtol=0)
    torch.testing.assert_close(
        model.emission.variances, torch.full_like(model.emission.variances, 0.49), atol=0.06, rtol=0
    )
    drawn = model.sample(400, seed=0)
    assert drawn.shape == (400, 2, 40)
    torch.testing.assert_close(drawn.mean(dim=(0, 2)), x.mean(dim=(0, 2)), atol=0.15, rtol=0)
    torch.testing.assert_close(drawn.var(dim=(0, 2)), x.var(dim=(0, 2)), atol=0.3, rtol=0)
    shares = model.encode(x)
    assert shares.shape == (120, 40, 3)
    assert (model.reconstruct(x) - x).square().mean() < 0.7
    single = solve(create("hmm", data, states=1), data)
    test = data.split("test").first().x
    assert model.log_prob(test).mean() > single.log_prob(test).mean() + 20


@pytest.mark.parametrize("levels", [0, 4])
def test_a_saved_hmm_draws_the_same(levels, tmp_path):
    x, _ = walk(40, 8)
    data = series(x if not levels else (x * 2).round().clamp(0, 3) / 3, levels)
    model = create("hmm", data, states=3, iterations=5)
    train(model, data, steps=1, threads=1, progress=False, out=tmp_path / "run")
    loaded = load_model(tmp_path / "run")
    drawn = loaded.sample(5, seed=0)
    assert torch.equal(model.sample(5, seed=0), drawn)
    model.chunk = 2
    torch.testing.assert_close(model.sample(5, seed=0), drawn)
    torch.testing.assert_close(loaded.log_prob(x[:1]), loaded.log_prob(x)[:1])
    assert ("score" in loaded.capabilities) == (not levels)


def test_an_hmm_of_one_state_is_a_gaussian():
    x, _ = walk(50, 10)
    data = series(x)
    model = solve(create("hmm", data, states=1), data)
    frames = data.split("train").first().x.double().mT.flatten(0, 1)
    normal = torch.distributions.Normal(frames.mean(dim=0), frames.std(dim=0, correction=0))
    expected = normal.log_prob(x.double().mT).sum(dim=(1, 2))
    torch.testing.assert_close(model.log_prob(x.double()), expected, rtol=1e-6, atol=1e-6)


def test_hmm_imputes_numbers_as_the_sum_over_all_paths_says():
    """Mean and variance of what is hidden, in a frame that is half seen and one that is not seen at all."""
    data = series(walk(120, 40)[0][:, :, :3])
    model = solve(create("hmm", data, states=3), data)
    x = data.split("test").first(1).x.double()
    mask = torch.tensor([[[True, False, False], [True, True, False]]])
    n = 20_000
    filled = model.impute(x.expand(n, -1, -1), mask.expand(n, -1, -1))
    paths = torch.tensor(list(itertools.product(range(3), repeat=3)))
    normal = torch.distributions.Normal(model.emission.means, model.emission.variances.sqrt())  # [S, C]
    entries = normal.log_prob(x[0].T[:, None])  # [T, S, C]
    seen = torch.where(mask[0].T[:, None], entries, 0.0).sum(dim=2)
    log_p = model.log_start[paths[:, 0]] + model.log_transition[paths[:, :-1], paths[:, 1:]].sum(dim=1)
    weight = (log_p + seen[torch.arange(3), paths].sum(dim=1)).softmax(dim=0)
    for channel, time in ((0, 1), (0, 2), (1, 2)):
        means, variances = (
            model.emission.means[paths[:, time], channel],
            model.emission.variances[paths[:, time], channel],
        )
        mean = weight @ means
        variance = weight @ (variances + means.square()) - mean.square()
        drawn = filled[:, channel, time]
        assert drawn.mean().item() == pytest.approx(mean.item(), abs=4 * math.sqrt(variance / n))
        assert drawn.var().item() == pytest.approx(variance.item(), rel=0.05)


def test_hmm_of_levels_learns_better_than_frequencies():
    x = golden_hmm().sample(400, seed=1)
    data = series(x, levels=2)
    model = solve(create("hmm", data, states=3), data)
    train_x = data.split("train").first().x.double()
    on = train_x.mean()
    independent = 5 * (torch.xlogy(on, on) + torch.xlogy(1 - on, 1 - on))
    assert model.log_prob(train_x).mean() > independent + 0.02
    assert set(model.sample(20, seed=0).unique().tolist()) == {0.0, 1.0}


def test_hmm_is_for_series():
    with pytest.raises(ModelError, match="hmm models series, not image data"):
        create("hmm", DIGITS)
