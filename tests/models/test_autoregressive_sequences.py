"""GPT, WaveNet and DeepAR: exact densities, prompts, continuations, gaps, and what is known in closed form."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from exnihilo.core import Batch, DataError, DataSpec, ModelError, Noise, OptionError, create
from exnihilo.data import load_data
from exnihilo.models.autoregressive import Sequences
from exnihilo.models.autoregressive.tokens import TokenSequences, sharpen

TEXT = DataSpec("text", (8,), levels=5, vocabulary=tuple("\nabcd"), tokens="characters")
SAID = DataSpec("text", (6,), levels=4, classes=2, class_shares=(0.7, 0.3), vocabulary=tuple("abcd"))
PICTURE = DataSpec("image", (1, 3, 3), levels=4)
SOUND = DataSpec("audio", (1, 16), levels=6, classes=2, class_names=("a", "b"), class_shares=(0.6, 0.4), rate=100.0)
WAVE = DataSpec("audio", (1, 16), rate=100.0)
SERIES = DataSpec("series", (2, 7))
COUNTS = DataSpec("series", (2, 3), levels=2)

CASES = {
    "gpt text": ("gpt", TEXT, {"width": 8, "depth": 2}),
    "gpt said": ("gpt", SAID, {"width": 8, "depth": 1, "conditional": True}),
    "gpt picture": ("gpt", PICTURE, {"width": 8, "depth": 2}),
    "wavenet sound": ("wavenet", SOUND, {"width": 8, "depth": 3, "blocks": 1, "conditional": True}),
    "wavenet wave": ("wavenet", WAVE, {"width": 8, "depth": 3, "blocks": 2, "components": 3}),
    "wavenet series": ("wavenet", SERIES, {"width": 8, "depth": 2}),
    "deep_ar gaussian": ("deep_ar", SERIES, {"width": 8}),
    "deep_ar student": ("deep_ar", SERIES, {"width": 8, "depth": 1, "head": "student", "cell": "gru"}),
    "deep_ar mixture": ("deep_ar", SERIES, {"width": 8, "head": "mixture", "components": 3}),
    "deep_ar counts": ("deep_ar", COUNTS, {"width": 8, "depth": 1}),
}

every_case = pytest.mark.parametrize("case", CASES)


def shaken(case: str, by: float = 0.3, **more: object) -> Sequences:
    """A model with random weights."""
    name, spec, options = CASES[case]
    model = create(name, spec, seed=1, **options, **more)
    assert isinstance(model, Sequences)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(by * torch.randn_like(weight))
    return model


def all_of(spec: DataSpec) -> Tensor:
    """Every example of levels there is."""
    states = torch.tensor(list(itertools.product(range(spec.levels), repeat=spec.size)))
    return spec.from_levels(states).view(-1, *spec.shape)


# -- densities -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["gpt said", "deep_ar counts"])
def test_probabilities_sum_to_one(case: str) -> None:
    model = shaken(case).double()
    x = all_of(model.spec)
    x = x.double() if x.is_floating_point() else x
    with torch.no_grad():
        assert float(model.log_prob(x).double().exp().sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("case", ["deep_ar gaussian", "deep_ar student", "deep_ar mixture", "wavenet series"])
def test_a_density_integrates_to_one_over_a_step(case: str) -> None:
    """Two channels that depend on each other: a grid over the last step, given those before it."""
    model = shaken(case, by=0.15).double()
    grid = torch.linspace(-14, 14, 281, dtype=torch.float64)
    x = torch.zeros(len(grid) ** 2, 2, 7, dtype=torch.float64)
    x[:, :, :6] = torch.randn(2, 6, dtype=torch.float64)
    before = x[:1].clone()
    before[..., 6] = torch.nan
    x[:, :, 6] = torch.cartesian_prod(grid, grid)
    model.batch = 50_000
    with torch.no_grad():
        density = (model.log_prob(x) - model.log_prob(before)).exp()
    assert float(density.sum()) * float(grid[1] - grid[0]) ** 2 == pytest.approx(1, abs=0.02)
    given = density.view(281, 281).argmax(dim=1)
    assert len(given.unique()) > 1, "the channels of a step are independent"


def test_classes_of_text_by_bayes_rule() -> None:
    model = shaken("gpt said")
    x = torch.randint(4, (5, 6))
    with torch.no_grad():
        each = torch.stack([model.log_prob(x, label=torch.full((5,), c)) for c in range(2)], dim=1)
        joint = each + torch.tensor([0.7, 0.3]).log()
        torch.testing.assert_close(model.log_prob(x), joint.logsumexp(dim=1))
        torch.testing.assert_close(model.classify(x), joint.log_softmax(dim=1))


def test_densities_without_gradient_come_in_parts() -> None:
    for case in ("gpt said", "wavenet sound"):
        model = shaken(case)
        x = model.sample(7, seed=0)
        label = torch.tensor([0, 1, 0, 1, 1, 0, 1])
        together = model.log_prob(x, label=label).detach()
        model.batch = 2
        with torch.no_grad():
            torch.testing.assert_close(model.log_prob(x, label=label), together, atol=1e-4, rtol=1e-5)


# -- drawing ---------------------------------------------------------------------------------------------------------


@every_case
def test_samples_are_data_and_their_own_whatever_the_batch(case: str) -> None:
    model = shaken(case)
    x = model.sample(6, seed=3)
    assert x.shape == (6, *model.spec.shape)
    assert x.dtype == (torch.int64 if model.spec.kind == "text" else torch.float32)
    assert x.isfinite().all()
    torch.testing.assert_close(model.spec.quantise(x).to(x), x, atol=1e-6, rtol=0)
    torch.testing.assert_close(model.sample(1, seed=Noise(3, [4])), x[4:5], atol=1e-3, rtol=1e-3)
    assert not torch.equal(x[0], x[1])


def test_samples_follow_the_probabilities() -> None:
    model, n = shaken("gpt said", by=0.5), 20_000
    model.chunk = n
    code = 4 ** torch.arange(6)
    found = torch.bincount(model.sample(n, seed=0) @ code, minlength=4**6) / n
    x = all_of(model.spec)
    with torch.no_grad():
        exact = torch.zeros(4**6).index_copy(0, x @ code, model.log_prob(x).exp())
    noise = (exact * (1 - exact) / n * 2 / math.pi).sqrt().sum() / 2  # the expected distance of counts
    assert 0.5 * (found - exact).abs().sum() < 1.3 * noise
    assert 0.5 * (found - exact[torch.randperm(4**6)]).abs().sum() > 2 * noise


@pytest.mark.parametrize("case", ["gpt text", "wavenet wave", "deep_ar gaussian"])
def test_a_sample_goes_on_from_its_own_beginning_as_it_did(case: str) -> None:
    """The bits of an entry are those of its place, so a continuation by the same noise is the sample."""
    model = shaken(case)
    x = model.sample(4, seed=5)
    known = torch.zeros_like(x, dtype=torch.bool)
    known[..., : x.shape[-1] // 2] = True
    again = model._complete(Noise(5, 4), None, torch.where(known, x, 0), known, model.likelihood.draw)
    torch.testing.assert_close(again, x, atol=1e-3, rtol=1e-3)


def test_sharpening() -> None:
    logits = torch.tensor([[0.1, 2.0, 1.0, -1.0]])
    assert torch.equal(sharpen(logits), logits)
    assert torch.equal(sharpen(logits, top_k=4), logits)
    torch.testing.assert_close(sharpen(logits, temperature=0.5), 2 * logits)
    assert sharpen(logits, top_k=2).isfinite().tolist() == [[False, True, True, False]]
    assert sharpen(logits, temperature=0).isfinite().tolist() == [[False, True, False, False]]
    p = logits.softmax(dim=1)  # 0.093 0.625 0.230 0.031
    assert sharpen(logits, top_p=float(p[0, 1])).isfinite().sum() == 1
    assert sharpen(logits, top_p=float(p[0, 1]) + 0.01).isfinite().tolist() == [[False, True, True, False]]
    assert sharpen(logits, top_p=0.0).isfinite().sum() == 1
    assert sharpen(logits, temperature=3.0, top_k=3, top_p=0.7).isfinite().sum() == 2


def test_cold_samples_are_the_likeliest() -> None:
    model = shaken("gpt text")
    x = model.sample(3, seed=0, temperature=0)
    assert torch.equal(x[0], x[1])
    assert torch.equal(x, model.sample(3, seed=1, top_k=1))
    with torch.no_grad():
        best = model.network(x[:1]).unflatten(1, (5, 8)).argmax(dim=1)
    assert torch.equal(best, x[:1])
    cold = shaken("wavenet wave").sample(40, seed=0, temperature=0.1)
    assert cold.std() < shaken("wavenet wave").sample(40, seed=0).std()
    with pytest.raises(OptionError, match="top_p"):
        model.sample(1, top_p=1.5)


# -- prompts ---------------------------------------------------------------------------------------------------------


def test_a_prompt_is_gone_on_from() -> None:
    model = shaken("gpt text")
    assert isinstance(model, TokenSequences)
    prompt = TEXT.tokenize("cab").expand(5, -1)
    x = model.sample(5, seed=0, text=prompt)
    assert torch.equal(x[:, :3], prompt)
    assert len({tuple(row) for row in x.tolist()}) > 1
    assert all(text.startswith("cab") for text in TEXT.decode(x))


def test_prompts_of_different_length_are_as_if_alone() -> None:
    model = shaken("gpt text")
    rows = torch.tensor([[1, 2, 3, 4], [-1, -1, 4, 0], [2, -1, -1, -1], [-1, -1, -1, -1]])
    x = model.sample(4, seed=7, text=rows)
    for row, ids in enumerate(rows):
        alone = model.sample(1, seed=Noise(7, [row]), text=ids[ids >= 0][None])
        assert torch.equal(x[row : row + 1], alone)
    assert torch.equal(x[3:], model.sample(1, seed=Noise(7, [3])))


def test_the_last_tokens_of_a_long_prompt_are_kept() -> None:
    model = shaken("gpt text")
    prompt = torch.tensor([[1, 1, 1, 1, 2, 3, 4, 2, 3, 4]])
    assert model.sample(1, seed=0, text=prompt)[0, :6].tolist() == [2, 3, 4, 2, 3, 4]


def test_prompts_that_are_none_are_refused() -> None:
    with pytest.raises(DataError, match="was not seen in training"):
        TEXT.tokenize("cabbage")
    with pytest.raises(DataError, match="ids 0 to 4"):
        shaken("gpt text").sample(1, text=torch.tensor([[1, 9]]))
    with pytest.raises(DataError, match="image data"):
        shaken("gpt picture").sample(1, text=torch.tensor([[1, 2]]))
    with pytest.raises(ModelError, match="audio"):
        create("gpt", SOUND)


# -- gaps ------------------------------------------------------------------------------------------------------------


def test_continuations_follow_the_conditional_also_of_the_class() -> None:
    model, n = shaken("gpt said", by=0.5), 8000
    model.chunk = 3000
    x = all_of(SAID)
    beginning = torch.tensor([2, 0, 3])
    fits = x[(x[:, :3] == beginning).all(dim=1)]
    with torch.no_grad():
        p = model.log_prob(fits).exp()
    mask = (torch.arange(6) < 3).expand(n, -1)
    given = torch.cat([beginning, torch.tensor([1, 1, 1])]).expand(n, -1)
    filled = model.impute(given, mask, seed=0)
    assert torch.equal(filled[mask], given[mask])
    code = 4 ** torch.arange(3)
    found = torch.bincount(filled[:, 3:] @ code, minlength=64) / n
    exact = torch.zeros(64).index_copy(0, fits[:, 3:] @ code, p / p.sum())
    torch.testing.assert_close(found, exact, atol=0.02, rtol=0)


def test_gaps_in_the_middle_are_filled_by_weighing() -> None:
    model, n = shaken("deep_ar counts", by=0.8), 1500
    x = all_of(COUNTS)
    with torch.no_grad():
        p = model.log_prob(x).exp()
    known = torch.ones(2, 3, dtype=torch.bool)
    known[0, 1] = known[1, 0] = False
    example = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    fits = ((x == example) | ~known).flatten(1).all(dim=1)
    filled = model.impute(example.expand(n, -1, -1), known.expand(n, -1, -1), seed=0)
    assert torch.equal(filled[:, known], example[known].expand(n, -1))
    same = (filled[:, None] == x[fits][None]).flatten(2).all(dim=2).float().mean(dim=0)
    torch.testing.assert_close(same, p[fits] / p[fits].sum(), atol=0.06, rtol=0)


def test_the_season_is_found_or_given_and_kept_with_the_weights() -> None:
    data = load_data(np.sin(np.arange(600) * 2 * np.pi / 12)[:, None] + 0.01 * np.arange(600)[:, None] % 1, window=48)
    found, given, none = (create("deep_ar", data, season=season, width=4, depth=1) for season in (None, 5, 1))
    for model in (found, given, none):
        next(iter(model.stages())).enter(data.split("train"))
    lags = [model.network.lags.tolist() for model in (found, given, none)]
    assert lags == [[12, 13, 24, 1, 2], [5, 6, 10, 1, 2], [1, 2, 3, 4, 5]]
    assert "network.lags" in found.state_dict()


def test_gaps_are_not_learnt_as_values() -> None:
    """What stands in a gap changes neither the loss nor its gradient; what is seen does."""
    for case in ("deep_ar gaussian", "deep_ar counts", "wavenet series"):
        model = shaken(case)
        x = model.sample(4, seed=0)
        mask = torch.ones_like(x, dtype=torch.bool)
        mask[:, 0, 1] = mask[2, 1, :2] = False
        losses, gradients = [], []
        for filler in (0.0, 1.0):
            model.zero_grad()
            loss = model.loss(Batch(torch.where(mask, x, filler), mask=mask))["nats"]
            loss.backward()
            losses.append(loss.detach())
            gradients.append([weight.grad for weight in model.parameters()])
        assert torch.equal(*losses)
        assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True) if a is not None and b is not None)
        assert loss.detach() == pytest.approx(float(model.validate(Batch(x, mask=mask))["nats"].detach()))
        assert loss.detach() != pytest.approx(float(model.loss(Batch(x))["nats"].detach()))


def test_missing_entries_do_not_count() -> None:
    """log p of the others, each given what was seen before it: of one missing last, the chain rule without it."""
    model = shaken("deep_ar gaussian").double()
    x = model.sample(3, seed=1).double()
    short = x.clone()
    short[:, :, 6] = torch.nan
    other = x.clone()
    other[:, :, 6] += 5.0
    with torch.no_grad():
        entries = model.likelihood.entries(model.network(x), x)[:, :, 6].sum(dim=1)
        torch.testing.assert_close(model.log_prob(short), model.log_prob(x) - entries)
        entries = model.likelihood.entries(model.network(other), other)[:, :, 6].sum(dim=1)
        torch.testing.assert_close(model.log_prob(short), model.log_prob(other) - entries)


# -- learning --------------------------------------------------------------------------------------------------------


def learn(model: Sequences, x: Tensor, steps: int, rate: float, batch: int = 32) -> None:
    """Adam on random batches, the rate falling to zero."""
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(model.train().parameters(), rate, betas=(0.9, 0.99))
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
        rows = torch.randint(len(x), (batch,))
        optimizer.zero_grad()
        model.loss(Batch(x[rows]))["nats"].backward()
        optimizer.step()
    model.eval()


def test_gpt_reaches_the_entropy_of_a_markov_chain() -> None:
    """A chain whose entropy rate is that of the hidden states of G9: 0.9042 nats a token."""
    p = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.25, 0.25, 0.5]])
    start = torch.tensor([0.35714286, 0.35714286, 0.28571429])
    rate = float(-(start[:, None] * p * p.log()).sum())
    assert rate == pytest.approx(0.90412175, abs=1e-6)
    torch.manual_seed(1)
    states = [torch.multinomial(start, 2000, replacement=True)]
    for _ in range(15):
        states.append(torch.multinomial(p[states[-1]], 1)[:, 0])
    x = torch.stack(states, dim=1)
    spec = DataSpec("text", (16,), levels=3, vocabulary=tuple("abc"), tokens="characters")
    model = create("gpt", spec, seed=0, width=16, depth=1, dropout=0.0)
    assert isinstance(model, Sequences)
    learn(model, x, 150, 1e-2)
    log_p = torch.cat([start[x[:, :1]], p[x[:, :-1], x[:, 1:]]], dim=1).log().sum(dim=1)
    with torch.no_grad():
        gap = (log_p - model.log_prob(x)).mean() / 16
    assert 0 <= float(gap) + 0.005 < 0.035


def test_deep_ar_finds_an_autoregression() -> None:
    """AR(2), 0.6 and -0.3, unit noise (G10): 1.4189 nats a step, and the coefficients as slopes of the mean."""
    random = np.random.default_rng(0)
    noise, series = random.normal(size=(600, 60)), np.zeros((600, 60))
    for t in range(60):
        series[:, t] = noise[:, t] + (0.6 * series[:, t - 1] if t else 0) - (0.3 * series[:, t - 2] if t > 1 else 0)
    x = torch.from_numpy(series[:, None, 30:]).float()
    model = create("deep_ar", DataSpec("series", (1, 30)), seed=0, width=12, depth=1, cell="gru")
    assert isinstance(model, Sequences)
    learn(model, x[:500], 160, 2e-2)
    test = x[500:]
    with torch.no_grad():
        entries = model.likelihood.entries(model.network(test), test)[:, 0, 5:]
    truth = 0.5 * math.log(2 * math.pi) + 0.5 * float(np.square(noise[500:, 35:]).mean())
    assert float(-entries.mean()) == pytest.approx(truth, rel=0.02)
    point = test.clone().requires_grad_()
    mean = model.likelihood.mean(model.network(point))[:, 0, 20].sum()
    slopes = torch.autograd.grad(mean, point)[0][:, 0].mean(dim=0)
    assert float(slopes[19]) == pytest.approx(0.6, abs=0.1)
    assert float(slopes[18]) == pytest.approx(-0.3, abs=0.1)
    past = torch.arange(30) < 20
    paths = model.impute(test.repeat_interleave(50, dim=0), past.expand(5000, 1, -1), seed=0).view(100, 50, 30)
    low, high = paths[:, :, 20:].quantile(torch.tensor([0.1, 0.9]), dim=1)
    inside = (test[:, 0, 20:] >= low) & (test[:, 0, 20:] <= high)
    assert float(inside.float().mean()) == pytest.approx(0.8, abs=0.07)


def test_wavenet_hears_more_than_the_sample_before() -> None:
    """Levels that repeat with period 4: the sample before says little, four before all but the noise."""
    torch.manual_seed(1)
    x = torch.randint(4, (200, 4)).repeat(1, 6)
    spoilt = torch.rand(x.shape) < 0.05
    x = torch.where(spoilt, torch.randint(4, x.shape), x)
    spec = DataSpec("audio", (1, 24), levels=4, rate=100.0)
    model = create("wavenet", spec, seed=0, width=12, depth=3, blocks=1)
    assert isinstance(model, Sequences)
    waves = spec.from_levels(x)[:, None]
    learn(model, waves, 150, 2e-2)
    with torch.no_grad():
        nats = -model.likelihood.entries(model.network(waves), waves)[:, 0, 8:].mean()
    assert float(nats) < 0.6 < math.log(4) / 2


def test_gpt_learns_pictures_and_text_by_heart() -> None:
    for case in ("gpt picture", "gpt text"):
        name, spec, _ = CASES[case]
        model = create(name, spec, seed=0, width=16, depth=1, dropout=0.0)
        assert isinstance(model, Sequences)
        torch.manual_seed(0)
        x = spec.from_levels(torch.randint(spec.levels, (6, *spec.shape)))
        first = float(model.loss(Batch(x))["nats"].detach())
        assert first == pytest.approx(spec.size * math.log(spec.levels), rel=0.05)
        learn(model, x, 300, 1e-2)
        with torch.no_grad():
            assert float(model.loss(Batch(x))["nats"]) < 0.35 * first


def test_embedded_data_are_taken_as_they_are() -> None:
    for name, source, options in (
        ("gpt", "stdlib", {"width": 8, "depth": 1}),
        ("wavenet", "tones", {"width": 8, "depth": 2, "conditional": True}),
        ("deep_ar", "sines", {"width": 8}),
    ):
        data = load_data(source)
        model = create(name, data, seed=0, **options)
        loss = model.loss(data.split("train").batch(0, 2, 0))["nats"]
        assert loss.isfinite()
