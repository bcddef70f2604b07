"""The real data that samples are judged against, prepared once for all models of a comparison."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from exnihilo.core import Batch, Data, DataError, seeded
from exnihilo.evaluation.distances import frechet, frechet_bias
from exnihilo.evaluation.extractors import Extractor, choose_extractor
from exnihilo.evaluation.memorisation import nearest, preference
from exnihilo.evaluation.statistics import FeatureStatistics, collect

EXAMPLES = 10_000  # real ones held, at most
BYTES = 256e6  # of real examples held, at most


@dataclass(frozen=True)
class Reference:
    """A split to be like, the training split not to copy, and the extractor in whose features both are seen.

    Everything that every model of a comparison shares stands here, so their figures have one protocol. The floor is
    the Frechet distance of `n` real training examples to the split: what a perfect model can be expected to reach.
    """

    data: Data
    split: str
    n: int  # samples to draw from every model
    seed: int
    extractor: Extractor
    train: Batch
    test: Batch

    @classmethod
    def of(
        cls, data: Data, *, n: int | None = None, seed: int = 0, split: str = "test", extractor: Extractor | None = None
    ) -> Reference:
        """Prepared with the data's default extractor; n defaults to the training examples, at most 1500 or 500."""
        if split not in ("test", "validation", "train"):
            raise DataError(f"There is no split {split!r}. Splits are: train, validation, test.")
        train = _fair_part(data.split("train"))
        test = _fair_part(data.split(split))
        if len(test) < 4 or len(train) < 4:
            raise DataError(
                f"The {split} split has {len(test)} examples and the training split {len(train)}; nothing can be said"
                " of a model with fewer than four in each. Bring more examples."
            )
        extractor = extractor or choose_extractor(data)
        n = n or min(len(data.split("train")), extractor.samples)
        if n < 4:
            raise DataError(f"n={n} samples are too few to judge a model by; take at least 4, better 1000.")
        return cls(data, split, n, seed, extractor, train, test)

    @property
    def protocol(self) -> str:
        """What every figure of samples says of how it was taken."""
        source = getattr(self.data, "source", "") or self.data.spec.kind
        mark = str(getattr(self.data, "fingerprint", ""))[:8]
        return (
            f"{self.extractor.identity} | {source}[{mark}] {self.split} n={len(self.test)}"
            f" | {self.n} samples, seed {self.seed}, rounded as the data are"
        )

    @cached_property
    def real(self) -> FeatureStatistics:
        """Features of the split."""
        return collect([self.extractor.features(self.test.x)], seed=self.seed)

    @cached_property
    def seen(self) -> FeatureStatistics:
        """Features of n other real examples: of the training split (or of the test split, if training is judged).

        Files often stand sorted by class, so the n are drawn, not the first.
        """
        other = self.train if self.split != "train" else _fair_part(self.data.split("test"))
        with seeded("floor", self.seed):
            chosen = torch.randperm(len(other))[: self.n]
        return collect([self.extractor.features(other.x[chosen])], seed=self.seed)

    @cached_property
    def floor(self) -> float:
        """The Frechet distance between real and real; never 0 for finite sets."""
        return max(frechet(self.seen.gaussian, self.real.gaussian), 1e-12)

    @cached_property
    def bias(self) -> float:
        """What the Frechet distance of a perfect model is expected to be at these counts."""
        return frechet_bias(self.real.gaussian.covariance, self.n, self.real.n)

    def place(self, x: Tensor) -> Tensor:
        """[N, ...] where neighbours of examples are looked for: model space, but the features of texts and sounds,
        whose every entry changes where they are shifted in time."""
        return self.extractor.features(x) if self.data.spec.kind in ("text", "audio") else x

    @property
    def space(self) -> str:
        """What `place` leads to, in words."""
        return "its features" if self.data.spec.kind in ("text", "audio") else "model space"

    @cached_property
    def train_place(self) -> Tensor:
        """Of the training examples."""
        return self.place(self.train.x)

    @cached_property
    def unseen_place(self) -> Tensor:
        """Of real examples that no model was trained on."""
        return self.place(self.unseen.x)

    @cached_property
    def unseen(self) -> Batch:
        """Real examples that no model was trained on: the split, unless that is the training split."""
        return self.test if self.split != "train" else _fair_part(self.data.split("test"))

    @cached_property
    def fresh_distance(self) -> Tensor:
        """[N] how far fresh examples lie from their nearest training examples, see `place`."""
        return nearest(self.unseen_place, self.train_place)[0]

    @cached_property
    def fresh_preference(self) -> Tensor:
        """[N] how many times as far fresh examples lie from training examples as from each other."""
        return preference(self.fresh_distance, nearest(self.unseen_place, self.unseen_place, others=True)[0])

    @cached_property
    def confident(self) -> float | None:
        """The share of real examples that the extractor's classifier knows with more than 0.9."""
        return confident_share(self.extractor, self.test.x)


def confident_share(extractor: Extractor, x: Tensor) -> float | None:
    """The share of examples whose class the extractor gives a probability above 0.9; None without a classifier."""
    answer = extractor.classify(x)
    return None if answer is None else (answer.amax(dim=1).exp() > 0.9).double().mean().item()


def _fair_part(data: Data) -> Batch:
    """All examples, or a random but fixed part of them where they are too many to hold."""
    limit = min(EXAMPLES, max(4, int(BYTES / (4 * data.spec.size))))
    if len(data) <= limit:
        return data.first()
    batch = data.batch(0, limit, 0)
    return batch if batch.index is None else batch[torch.argsort(batch.index)]
