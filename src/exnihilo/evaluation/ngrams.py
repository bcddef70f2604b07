"""Texts without a network: models of order n, which know the n - 1 tokens before; and the text they are counted in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from exnihilo.core import NOTHING, Conditions, Data, DataSpec, GenerativeModel, Noise
from exnihilo.data import Dataset
from exnihilo.data.windows import Windows


def runs_of(data: Data) -> list[Tensor]:
    """The tokens of some examples as text that runs on: each token once, however windows overlap.

    Of data that are changed as they are drawn - another vocabulary's - every window is a text of its own.
    """
    if not isinstance(data, Dataset) or not isinstance(data.examples, Windows) or data.changes:
        return list(data.first().x)
    stream, length = data.examples.stream, data.examples.length
    starts = data.examples.starts[data.places]
    edges = torch.zeros(len(stream) + 1, dtype=torch.int64)
    edges.index_add_(0, starts, torch.ones_like(starts))
    edges.index_add_(0, starts + length, -torch.ones_like(starts))
    inside = torch.cat([torch.zeros(1, dtype=torch.bool), edges.cumsum(0)[:-1] > 0, torch.zeros(1, dtype=torch.bool)])
    turns = inside.int().diff().nonzero()[:, 0]  # where text begins and ends, in turn
    return [stream[begin:end].long() for begin, end in turns.view(-1, 2).tolist()]


@dataclass(frozen=True)
class Grams:
    """The different k-grams of a text, sorted; a gram's number is its place.

    keys [G]: the number of its first k - 1 tokens, as a gram of the order below, times the vocabulary, plus its last
    token. counts [2, G]: how often it occurs, and after how many different tokens. Both also summed up by context (its
    first k - 1 tokens), whose grams begin at `first` [contexts + 1].
    """

    keys: Tensor
    counts: Tensor
    total: Tensor  # [2, contexts] of the counts
    followers: Tensor  # [2, contexts] of the grams that have a count
    first: Tensor
    discount: tuple[float, float]

    @classmethod
    def of(cls, keys: Tensor, counts: Tensor, contexts: int, vocabulary: int) -> Grams:
        """With what is summed up by context."""
        context = keys // vocabulary
        total = torch.zeros(2, contexts, dtype=torch.float64).index_add_(1, context, counts)
        followers = torch.zeros(2, contexts, dtype=torch.float64).index_add_(1, context, (counts > 0).double())
        first = torch.searchsorted(keys, torch.arange(contexts + 1) * vocabulary)
        return cls(keys, counts, total, followers, first, (_discount(counts[0]), _discount(counts[1])))

    def find(self, context: Tensor, token: Tensor, vocabulary: int) -> Tensor:
        """The number of each gram; -1 where it, or its context (-1), never occurred."""
        key = context * vocabulary + token
        place = torch.searchsorted(self.keys, key).clamp(max=len(self.keys) - 1)
        return torch.where((context >= 0) & (self.keys[place] == key), place, -1)

    def smoothed(self, kind: int, context: Tensor, count: Tensor, lower: Tensor) -> Tensor:
        """P_k from counts of one kind and the order below, all shaped alike; the order below where nothing is known."""
        known = context.clamp_min(0)
        total = torch.where(context >= 0, self.total[kind][known], 0.0)
        left = self.discount[kind] * self.followers[kind][known]
        p = ((count - self.discount[kind]).clamp_min(0) + left * lower) / total.clamp_min(1)
        return torch.where(total > 0, p, lower)


def _discount(counts: Tensor) -> float:
    """n_1 / (n_1 + 2 n_2), n_c the grams that were counted c times (Ney, Essen & Kneser, 1994)."""
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    return once / (once + 2 * twice) if once else 0.5


def count_grams(runs: Sequence[Tensor], order: int, vocabulary: int) -> list[Grams]:
    """The k-grams of texts, k = 1 ... order."""
    tokens = torch.cat(list(runs))
    place = torch.cat([torch.arange(len(run)) for run in runs])  # of a token in its run
    ending = [torch.zeros_like(tokens)]  # by order: the number of the gram that ends at each token
    found: list[tuple[Tensor, Tensor]] = []
    for k in range(1, order + 1):
        here = (place >= k - 1).nonzero()[:, 0]
        context = ending[-1][here - 1] if k > 1 else torch.zeros_like(here)
        keys, number, often = torch.unique(context * vocabulary + tokens[here], return_inverse=True, return_counts=True)
        ending.append(torch.full_like(tokens, -1).index_copy(0, here, number))
        found.append((keys, often))
    grams = []
    for k, (keys, often) in enumerate(found, start=1):
        after = torch.zeros_like(often)  # how many different tokens
        if k < order:
            longer = (ending[k + 1] >= 0).nonzero()[:, 0]
            end = torch.empty_like(found[k][0]).index_copy(0, ending[k + 1][longer], ending[k][longer])
            after = torch.bincount(end, minlength=len(keys))
        contexts = 1 if k == 1 else len(found[k - 2][0])
        grams.append(Grams.of(keys, torch.stack([often, after]).double(), contexts, vocabulary))
    return grams


class NGram(GenerativeModel):
    """P(x) = prod_i P(x_i | x_{i-n+1}, ..., x_{i-1}), the model of order n, by interpolated Kneser-Ney smoothing.

        P_k(w | h) = (max(c(hw) - D, 0) + D N(h) P_{k-1}(w | h')) / c(h)

    h' is h without its first token, N(h) the number of different tokens after h, D as in `_discount`; below the highest
    order c(hw) is the number of different tokens before hw (Kneser & Ney, 1995; Chen & Goodman, 1999, Eq. 18-21). P_0
    is uniform. At the beginning of a window the highest order is what there is to look back on. In closed form, every
    training token counted once. Caution: its size grows with the text.
    """

    mass = True

    def __init__(self, spec: DataSpec, runs: Sequence[Tensor], order: int):
        super().__init__()
        self.spec, self.recipe, self.options = spec, f"{order}-gram", {"order": order}
        self.order, self.vocabulary = order, spec.levels
        self.grams = count_grams(runs, order, spec.levels)
        for k, grams in enumerate(self.grams, start=1):  # what it has learnt, for whoever counts numbers
            self.register_buffer(f"counts_{k}", grams.counts[0])

    def log_prob(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        """[B] the exact log-probability of windows [B, L], in nats."""
        return self._log_probs(x).sum(dim=1)

    def log_prob_after(self, x: Tensor, known: Tensor) -> Tensor:
        """[B] of all but the first `known` [B] tokens, given these."""
        counted = torch.arange(x.shape[1], device=x.device) >= known[:, None]
        return torch.where(counted, self._log_probs(x), 0.0).sum(dim=1)

    def _log_probs(self, x: Tensor) -> Tensor:
        """[B, L] of every token, given those before it."""
        lower = torch.full(x.shape, 1 / self.vocabulary, dtype=torch.float64)
        answer = torch.empty_like(lower)
        ending = torch.zeros_like(x)  # the number of the gram of the order below that ends at each token
        for k, grams in enumerate(self.grams, start=1):
            context = torch.full_like(x, 0 if k == 1 else -1)
            if k > 1:
                context[:, k - 1 :] = ending[:, k - 2 : -1]
            ending = grams.find(context, x, self.vocabulary)
            often, after = (
                grams.smoothed(kind, context, torch.where(ending >= 0, grams.counts[kind][ending], 0.0), lower)
                for kind in (0, 1)
            )
            highest = slice(k - 1, k) if k < self.order else slice(k - 1, None)
            answer[:, highest] = often[:, highest]
            lower = after
        return answer.log()

    def draw(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """[len(noise), L] token after token."""
        x = torch.zeros(len(noise), *self.spec.shape, dtype=torch.int64)
        for place in range(self.spec.size):
            p = self._next(x[:, max(0, place - self.order + 1) : place])
            uniform = noise.uniform(1, dtype=torch.float64)
            x[:, place] = torch.searchsorted(p.cumsum(dim=1)[:, :-1].contiguous(), uniform, right=True)[:, 0]
        return x

    def _next(self, before: Tensor) -> Tensor:
        """[n, V] the probabilities of the token after some [n, k], k < order."""
        n, known = before.shape
        p = torch.full((n, self.vocabulary), 1 / self.vocabulary, dtype=torch.float64)
        for k in range(1, known + 2):
            context = torch.zeros(n, dtype=torch.int64)
            for j, token in enumerate(before[:, known - k + 1 :].T):
                context = self.grams[j].find(context, token, self.vocabulary)
            grams, kind = self.grams[k - 1], 0 if k == known + 1 else 1
            p = grams.smoothed(kind, context[:, None], self._followers(grams, kind, context), p)
        return p

    def _followers(self, grams: Grams, kind: int, context: Tensor) -> Tensor:
        """[n, V] the counts of all grams of each context."""
        begin, end = grams.first[context.clamp_min(0)], grams.first[context.clamp_min(0) + 1]
        length = torch.where(context >= 0, end - begin, 0)
        row = torch.repeat_interleave(torch.arange(len(context)), length)
        place = torch.arange(int(length.sum())) + torch.repeat_interleave(begin - length.cumsum(0) + length, length)
        counts = torch.zeros(len(context), self.vocabulary, dtype=torch.float64)
        counts[row, grams.keys[place] % self.vocabulary] = grams.counts[kind][place]
        return counts
