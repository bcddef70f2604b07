"""Small models, for tests only, that need each of the mechanics that later families rely on."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from exnihilo.core import (
    NOTHING,
    Batch,
    Conditions,
    Data,
    DataSpec,
    GenerativeModel,
    Noise,
    Player,
    Stage,
    Terms,
    adam,
    sgd,
)


class Tiny(GenerativeModel):
    """A Gaussian with learned mean: the smallest model that trains, samples and has a density."""

    optimizer = adam(1e-2)
    batch = 8

    def __init__(self, spec: DataSpec):
        super().__init__()
        self.spec, self.recipe, self.options = spec, "tiny", {}
        self.mean = nn.Parameter(torch.zeros(spec.shape))

    def loss(self, batch: Batch) -> Terms:
        jitter = torch.randn_like(batch.x) * 0.01  # torch's generator: the trainer seeds it
        return {"nats": -self.log_prob(batch.x + jitter).mean()}

    def log_prob(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        return torch.distributions.Normal(self.mean, 1.0).log_prob(x).flatten(1).sum(dim=1)

    def draw(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        return self.mean + noise.normal(*self.spec.shape)


class Unjudged(Tiny):
    """Has no validation figure, so the last averaged weights are kept."""

    def validate(self, batch: Batch) -> Terms:
        return {}


class Game(Unjudged):
    """Two players with a lazy penalty, one that may sit out, and a teacher that `after` moves."""

    def __init__(self, spec: DataSpec):
        super().__init__(spec)
        self.critic = nn.Linear(spec.size, 1)
        self.generator = nn.Linear(3, spec.size)
        self.teacher = nn.Linear(3, spec.size)
        self.spare = nn.Linear(2, 2)
        self.register_buffer("turns", torch.zeros(3, dtype=torch.int64))  # critic, penalty, generator

    def score(self, x: Tensor) -> Tensor:
        return self.critic(x.flatten(1)).mean()

    def fake(self, n: int) -> Tensor:
        return self.generator(torch.randn(n, 3))

    def players(self) -> Iterable[Player]:
        generator = nn.ModuleList([self.generator])
        yield Player("critic", self.critic, self.critic_loss, steps=2, after=self.count(0))
        yield Player("critic", self.critic, self.penalty, every=3, after=self.count(1))
        yield Player("generator", generator, self.generator_loss, after=self.follow, when=self.generator_may)

    def critic_loss(self, batch: Batch) -> Terms:
        real, fake = self.score(batch.x), self.score(self.fake(len(batch)))
        return {"adversarial": fake - real, "score/real": real.detach()}

    def penalty(self, batch: Batch) -> Terms:
        return {"size": self.critic.weight.square().sum()}

    def generator_loss(self, batch: Batch) -> Terms:
        return {"adversarial": -self.score(self.fake(len(batch)))}

    def generator_may(self) -> bool:
        return int(self.turns[0]) % 4 != 0  # reads a buffer that the critic's `after` set

    def count(self, which: int):
        def after(terms: Terms) -> None:
            self.turns[which] += 1

        return after

    def follow(self, terms: Terms) -> None:
        self.turns[2] += 1
        for weight, source in zip(self.teacher.parameters(), self.generator.parameters(), strict=True):
            weight.lerp_(source, 0.1)


class Growing(Unjudged):
    """Two stages: the second opens a block and reweights the data; `enter` only changes values."""

    def __init__(self, spec: DataSpec):
        super().__init__(spec)
        self.blocks = nn.ModuleList([nn.Linear(spec.size, spec.size) for _ in range(2)])
        self.register_buffer("level", torch.tensor(0))

    def stages(self) -> Iterable[Stage]:
        yield Stage("small", lambda: [Player("first", self.blocks[0], self.fit)], share=2)
        yield Stage("large", lambda: [Player("second", self.blocks[1], self.fit)], enter=self.open, view=self.rare)

    def open(self, data: Data) -> None:
        self.level.fill_(1)
        self.blocks[1].load_state_dict(self.blocks[0].state_dict())

    def rare(self, data: Data) -> Data:
        return data.weighted(data.first().x.flatten(1).norm(dim=1))

    def fit(self, batch: Batch) -> Terms:
        x = batch.x.flatten(1)
        for block in self.blocks[: int(self.level) + 1]:
            x = block(x)
        return {"error": (x - batch.x.flatten(1)).square().mean()}


class Replay(Unjudged):
    """Keeps a pool of past batches in a buffer that only a resume needs, and ties two weights."""

    optimizer = sgd(1e-2, momentum=0.9)

    def __init__(self, spec: DataSpec):
        super().__init__(spec)
        self.front = nn.Linear(spec.size, spec.size, bias=False)
        self.back = nn.Linear(spec.size, spec.size, bias=False)
        self.back.weight = self.front.weight
        self.register_buffer("pool", torch.zeros(4, spec.size), persistent=False)

    def loss(self, batch: Batch) -> Terms:
        x = batch.x.flatten(1)
        target = x.mean(dim=0) + self.pool.mean(dim=0)
        with torch.no_grad():
            self.pool.copy_(torch.cat([x[:2], self.pool[:2]]))
        return {"error": (self.back(self.front(x)) - target).square().mean()}


class Closed(Tiny):
    """No players: `enter` does all the work, and sets a buffer whose shape comes from the data."""

    def __init__(self, spec: DataSpec):
        super().__init__(spec)
        self.register_buffer("points", torch.zeros(0, spec.size))

    def stages(self) -> Iterable[Stage]:
        yield Stage("closed form", lambda: [], enter=self.remember)

    def remember(self, data: Data) -> None:
        self.points = data.first().x.flatten(1) + torch.randn(1)
        with torch.no_grad():
            self.mean.copy_(data.first().x.mean(dim=0))


MODELS = [Tiny, Game, Growing, Replay, Closed]
