"""Texts judged as they run on: every token once, each after half a window or more."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from exnihilo.core import create
from exnihilo.data.texts import text_dataset
from exnihilo.evaluation import evaluate
from exnihilo.evaluation.ngrams import NGram, runs_of
from exnihilo.evaluation.running_text import letters_of, reads_on, running_likelihood, running_windows

WINDOW = 16


def text(window: int = WINDOW, **options):
    words = np.random.default_rng(0).choice(["the ", "sea ", "and ", "ships.\n"], size=1500)
    return text_dataset({"sea": "".join(words).encode()}, window=window, **options)


def test_every_token_is_counted_once_after_half_a_window_or_more() -> None:
    test = text().split("test")
    x, known = running_windows(test)
    counted = [row[before:] for row, before in zip(x, known.tolist(), strict=True)]
    assert torch.equal(torch.cat(counted), torch.cat(runs_of(test)))
    assert known[0] == 0
    assert (known[1:] >= WINDOW // 2).all()


def test_a_model_of_low_order_misses_nothing_that_stands_before() -> None:
    """Eight tokens back are all that the fifth order asks for, so the windows tell what the whole text does."""
    data = text()
    model = NGram(data.spec, runs_of(data.split("train")), 5)
    key, value = running_likelihood(model, data.split("test"), "sea test")
    whole = torch.cat(runs_of(data.split("test")))[None]
    assert key == "bits_per_character"
    assert value.value == pytest.approx(-float(model.log_prob(whole)) / whole.shape[1] / math.log(2), rel=1e-9)
    assert f"each after {WINDOW // 2} to {WINDOW - 1} characters of" in value.protocol
    windows = -float(model.log_prob(data.split("test").first().x).mean()) / WINDOW / math.log(2)
    assert value.value < windows - 0.05  # whose beginnings know nothing


@pytest.mark.parametrize("options", [{}, {"labels": True}])
def test_the_rest_of_a_window_by_the_chain_rule(options: dict[str, bool]) -> None:
    from dataclasses import replace

    spec = text(8).spec
    spec = replace(spec, classes=2, class_names=("a", "b"), class_shares=(0.7, 0.3)) if options else spec
    model = create("gpt", spec, width=8, depth=1, conditional=bool(options)).double()
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
        x, known = torch.randint(spec.levels, (3, 8)), torch.tensor([7, 0, 7])
        after = model.log_prob_after(x, known).double()
        last = x[:, None].repeat(1, spec.levels, 1)
        last[:, :, 7] = torch.arange(spec.levels)  # every last token
        all_of_it = model.log_prob(last.flatten(0, 1)).view(3, -1)
        expected = model.log_prob(x) - all_of_it.logsumexp(dim=1)
        torch.testing.assert_close(after[[0, 2]], expected[[0, 2]].double(), atol=1e-4, rtol=1e-5)
        torch.testing.assert_close(after[1], model.log_prob(x)[1].double(), atol=1e-4, rtol=1e-5)


def test_byte_pairs_are_counted_in_characters() -> None:
    pytest.importorskip("tokenizers")
    data = text(12, tokens="bpe", size=32)
    x, known = running_windows(data.split("test"))
    letters = letters_of(data.spec, x, known)
    said = [data.spec.untokenize(row[before:]) for row, before in zip(x, known.tolist(), strict=True)]
    assert letters.tolist() == [len(part) for part in said]


def test_evaluate_reads_on_where_the_model_can() -> None:
    data = text()
    model = NGram(data.spec, runs_of(data.split("train")), 3)
    assert reads_on(model, data)
    assert not reads_on(model, data.map(lambda batch: batch))
    value = evaluate(model, data, n=64)["bits_per_character"]
    assert value.value == pytest.approx(running_likelihood(model, data.split("test"), "")[1].value)
