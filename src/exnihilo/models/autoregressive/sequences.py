"""Autoregressive models of sequences: known beginnings read in one pass, gaps in training, exact continuations."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import torch
from torch import Tensor

from exnihilo.core import NOTHING, Batch, Conditions, Noise, Terms, check_mask
from exnihilo.models.autoregressive.family import PARTICLES, Autoregressive
from exnihilo.nets.masked import at
from exnihilo.nets.sequence import SequenceNetwork, in_order

#: What is drawn from the parameters [n, per_entry] of one entry: values [n, 1].
Choose = Callable[[Tensor, Noise], Tensor]


class Sequences(Autoregressive):
    """log p(x) = sum_t log p(x_t | x_1, ..., x_{t-1}) over ids (T,), series (C, T) or pictures, step after step.

    NaN in x is a missing value: the network is told that it is, and log p(x) is that of the other values, each given
    what was seen before it. So gaps in training data (`Batch.mask`) are not learnt as values, whatever fills them.
    """

    network: SequenceNetwork

    def _given(self, x: Tensor, vector: Tensor | None) -> Tensor:
        return self._counted(x, vector, ~x.isnan())

    def _counted(self, x: Tensor, vector: Tensor | None, counted: Tensor) -> Tensor:
        """[B] log p of the entries of x that are counted, each given all those before it."""
        if not torch.is_grad_enabled() and len(x) > self.batch:  # windows are long: no more memory than in training
            vectors = [None] * len(x) if vector is None else vector.split(self.batch)
            parts = zip(x.split(self.batch), vectors, counted.split(self.batch), strict=False)
            return torch.cat([self._counted(*part) for part in parts])
        parameters = self.network(x, vector)
        parameters = parameters.to(x.dtype) if x.is_floating_point() else parameters.float()
        return self.likelihood.log_prob(parameters, x.nan_to_num(0.0), counted)

    def log_prob_after(self, x: Tensor, known: Tensor, *, label: Tensor | None = None) -> Tensor:
        """[B] log p(the steps after the first `known` [B] | these), in nats, of ids (T,) and series (C, T).

        A class that is not given is unknown too: log p(x) - log p(first steps), each over all classes.
        """
        after = (torch.arange(x.shape[-1], device=x.device) >= known.view(-1, *[1] * (x.ndim - 1))).expand_as(x)
        seen = ~x.isnan()
        if not self.labelled or label is not None:
            return self._counted(x, self._vector(len(x), label), after & seen)
        classes = torch.arange(self.spec.classes, device=x.device)[:, None].expand(-1, len(x))
        vectors = [self._vector(len(x), one) for one in classes]
        shares = self.class_log_shares(next(self.parameters()))
        whole, first = (
            (torch.stack([self._counted(x, vector, counted) for vector in vectors], dim=1) + shares).logsumexp(dim=1)
            for counted in (seen, seen & ~after)
        )
        return whole - first

    def loss(self, batch: Batch) -> Terms:
        if batch.mask is not None:
            batch = batch.replace(x=torch.where(batch.mask, batch.x, torch.nan))
        return super().loss(batch)

    def validate(self, batch: Batch) -> Terms:
        return self.loss(batch)

    # -- drawing -------------------------------------------------------------------------------------------------

    def draw(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """x_t ~ p(x_t | x_1, ..., x_{t-1}), step after step."""
        return self._drawn(noise, asked.label, self.likelihood.draw)

    def _drawn(self, noise: Noise, label: Tensor | None, choose: Choose) -> Tensor:
        vector = self._vector(len(noise), label)
        device = next(self.parameters()).device
        unknown = torch.zeros(len(noise), *self.network.shape, dtype=torch.bool, device=device)
        return self._complete(noise, vector, unknown.float(), unknown, choose)

    def _complete(self, noise: Noise, vector: Tensor | None, x: Tensor, mask: Tensor, choose: Choose) -> Tensor:
        """x with what mask does not hold drawn, each entry given those before it.

        What all rows know at their beginning is read in one pass, and once where neighbours have the same. Entry k of a
        sample takes the same bits of its noise wherever the drawing begins: after its own beginning a sample goes on as
        it did.
        """
        network, known = self.network, in_order(mask)
        steps = int(known.int().cumprod(dim=1).sum(dim=1).min()) // network.channels
        start, count = steps * network.channels, self._last_gap(known) + 1
        beginnings = in_order(x)[:, :start]
        if vector is not None:
            beginnings = torch.cat([beginnings.to(vector.dtype), vector], dim=1)
        first, back = _distinct(beginnings)
        walk = network.walk(len(first), None if vector is None else vector[first])
        walk.read(x[first], steps)
        if len(first) < len(x):
            walk.spread(back)
        some = known.any(dim=0).tolist()
        begin, used = noise.position, 0
        for number, place in enumerate(islice(network.order(), start, count), start):
            parameters = walk.predict(place)
            if number == start:
                trial = noise[:1]
                choose(parameters[:1], trial)
                used = trial.position - begin
            noise.position = begin + number * used
            value = choose(parameters, noise)[:, 0]
            walk.write(place, torch.where(mask[at(place)], x[at(place)], value) if some[number] else value)
        return torch.where(mask, x.to(walk.x), walk.x)

    @staticmethod
    def _last_gap(known: Tensor) -> int:
        """The place in order of the last entry that some row lacks; -1 if none does."""
        gaps = (~known).any(dim=0).nonzero()
        return int(gaps[-1]) if len(gaps) else -1

    # -- gaps ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def impute(self, x: Tensor, mask: Tensor, *, seed: int = 0) -> Tensor:
        """What comes after the known beginning is drawn exactly; of gaps before known entries, one of some completions.

        A continuation is an ancestral sample, all rows in parallel; equal beginnings that stand side by side are read
        once. Otherwise sampling-importance-resampling, as for any order, see `Autoregressive.impute`; only steps from
        the first gap to the last are gone through one by one. An unknown class is first drawn given the beginning.
        """
        check_mask(x, mask)
        known = in_order(mask)
        particles = 1 if bool((known[:, :-1] >= known[:, 1:]).all()) else PARTICLES
        noise = Noise(seed, len(x) * particles, device=x.device)
        rows = max(1, self.chunk // particles)
        parts = [slice(begin, begin + rows) for begin in range(0, len(x), rows)]
        return torch.cat(
            [
                self._imputed(noise[part.start * particles : part.stop * particles], x[part], mask[part], particles)
                for part in parts
            ]
        )

    def _imputed(self, noise: Noise, x: Tensor, mask: Tensor, particles: int) -> Tensor:
        """One of so many completions of each row."""
        x, mask = x.repeat_interleave(particles, dim=0), mask.repeat_interleave(particles, dim=0)
        begun = in_order(mask).int().cumprod(dim=1).bool()
        begun = begun if mask.ndim == 2 else begun.unflatten(1, (*mask.shape[2:], mask.shape[1])).movedim(-1, 1)
        vector = self._likely_class(noise, x, begun) if self.labelled else None
        filled = self._complete(noise, vector, x, mask, self.likelihood.draw)
        if particles == 1:
            return filled
        weights = self._counted(filled, vector, mask & ~begun).view(-1, particles)
        chosen = noise[::particles].categorical(weights)
        return filled.view(-1, particles, *x.shape[1:])[torch.arange(len(weights), device=x.device), chosen]

    def _likely_class(self, noise: Noise, x: Tensor, begun: Tensor) -> Tensor:
        """The vectors of classes drawn from p(c | beginning), in proportion to p(c) p(beginning | c)."""
        first, back = _distinct(torch.cat([torch.where(begun, x, 0), begun.to(x)], dim=1).flatten(1))
        classes = torch.arange(self.spec.classes, device=x.device)[:, None].expand(-1, len(first))
        each = [self._counted(x[first], self._vector(len(first), label), begun[first]) for label in classes]
        joint = torch.stack(each, dim=1) + self.class_log_shares(x)
        vector = self._vector(len(x), noise.categorical(joint[back]))
        assert vector is not None
        return vector


def _distinct(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The places of rows [n, D] that differ from the one before them; and for every row, which of those it equals."""
    new = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    new[1:] = (rows[1:] != rows[:-1]).any(dim=1)
    return new.nonzero()[:, 0], new.cumsum(dim=0) - 1
