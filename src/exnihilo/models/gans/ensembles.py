"""Many generators for one distribution: boosted one after another, or drawn from a posterior over weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from exnihilo.core import NOTHING, Batch, Conditions, Data, GenerativeModel, Noise, Player, Stage, Terms, adam, sghmc
from exnihilo.core.optimizers import OptimizerFactory
from exnihilo.models.gans.coupled import pick
from exnihilo.models.gans.family import GAN, watched
from exnihilo.models.gans.games import Games
from exnihilo.models.gans.latents import Latent, Normal
from exnihilo.models.gans.objectives import Objective, classification, nonsaturating
from exnihilo.models.gans.penalties import Penalty

CERTAIN = 1e-3  # the judge of a mixture is taken to be no surer than this


def member(e: Tensor, shares: Tensor) -> Tensor:
    """[B] the member of a mixture that standard normal numbers [B] choose: member k for a part shares[k] of them."""
    return torch.bucketize(torch.special.ndtr(e), shares.cumsum(0)[:-1], right=True)


def mixture(generators: Sequence[nn.Module], latent: Latent, shares: Tensor, code: Tensor) -> Tensor:
    """The samples [B, *shape] of codes [B, latent.width + 1], whose last number says which generator makes them."""
    z, chosen = code[:, : latent.width], member(code[:, latent.width], shares)
    return pick((generator(z) for generator in generators), chosen)


def reweighted(odds: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """(lambda, w [N]) by which the next part, of share beta, is best taught: w_i = [lambda - (1 - beta) h_i]+ / N beta.

    Tolstikhin et al., 2017, arXiv:1701.02386, Eq. 12 and Algorithm 2, with lambda such that the weights sum to 1.
    odds: h_i = dQ/dP [N], the density of the mixture so far over that of the data at example i.
    """
    rising = odds.double().sort().values
    n = len(rising)
    count = torch.arange(1, n + 1, device=odds.device).double()
    # lambda if only the `count` smallest odds had weights; right is the largest count that leaves none negative
    limits = beta * n / count * (1 + (1 - beta) / beta * rising.cumsum(0) / n)
    last = int((limits >= (1 - beta) * rising).sum()) - 1
    weights = (limits[last] - (1 - beta) * odds.double()).relu() / (n * beta)
    return limits[last], weights / weights.sum()


class AdaGAN(Games):
    """Q_t = (1 - beta_t) Q_{t-1} + beta_t G_t:  each generator learns what the mixture before it leaves out.

    Tolstikhin et al., 2017, arXiv:1701.02386, Algorithm 1. From the second part on, a judge first learns to tell data
    from Q_{t-1}; with D = sigmoid(s) it knows dQ/dP = (1 - D) / D, from which every example has its weight for the
    next game (`reweighted`). beta: share of each new part, or None for 1/t, which ends with equal shares. A judge is
    kept by its loss on held-out examples, and D within [0.001, 0.999]. A code is a latent and one more number, which
    chooses the part. Caution: the weights are as good as the judge, and all training examples are held in memory.
    """

    shares: Tensor
    weights: Tensor
    judging: Tensor

    def __init__(self, games: Iterable[GAN], judges: Iterable[nn.Module], *, beta: float | None = None):
        super().__init__(games)
        self.judges = nn.ModuleList(judges)  # one fewer than games
        self.beta = beta
        self.latent = self.games[0].latent
        first = torch.zeros(len(self.games))
        first[0] = 1.0
        self.register_buffer("shares", first)
        self.register_buffer("weights", torch.zeros(0, dtype=torch.float64), persistent=False)  # [examples]
        self.register_buffer("judging", torch.tensor(0), persistent=False)  # parts in the mixture now judged, 0: none

    # -- training ------------------------------------------------------------------------------------------------

    def stages(self) -> Iterator[Stage]:
        """The first game; then, again and again, a judge of all parts so far and the game of the next one."""
        yield Stage("part 1", self.games[0].players)
        for parts, game in enumerate(self.games[1:], start=1):
            judge = partial(self._judges, parts)
            yield Stage(f"judge {parts}", judge, share=0.25, enter=partial(self._judge, parts))
            yield Stage(f"part {parts + 1}", game.players, enter=partial(self._weigh, parts), view=self._weighted)

    def _judges(self, parts: int) -> Iterator[Player]:
        yield Player("judge", self.judges[parts - 1], partial(self.judge_loss, parts), optimizer=adam(1e-3))

    def judge_loss(self, parts: int, batch: Batch) -> Terms:
        """Telling data from samples of the first parts."""
        code = torch.randn(len(batch), self.latent.size + 1, device=batch.x.device, dtype=batch.x.dtype)
        x, judge = self.games[0].reals(batch), self.judges[parts - 1]
        real, fake = judge(x), judge(self.games[0].shown(self._mixed(parts, code)))
        return {"classification": classification(real, fake), **watched(real, fake)}

    def _mixed(self, parts: int, e: Tensor) -> Tensor:
        """Samples of the first parts from numbers e [B, latent.size + 1]."""
        generators = [game.generator for game in self.games[:parts]]
        return mixture(generators, self.latent, self.shares[:parts], self._code(e))

    def _code(self, e: Tensor) -> Tensor:
        return torch.cat([self.latent(e[:, :-1]), e[:, -1:]], dim=1)

    def _judge(self, parts: int, data: Data) -> None:
        self.judging.fill_(parts)

    @torch.no_grad()
    def _weigh(self, parts: int, data: Data) -> None:
        """Weigh all training examples for the next part, and give it its share of the mixture."""
        self.judging.zero_()
        device, judge = self.shares.device, self.judges[parts - 1]
        x = data.first().x
        scores = torch.cat([judge(self.games[0].shown(part.to(device))) for part in x.split(self.chunk)])
        share = scores.double().sigmoid().clamp(CERTAIN, 1 - CERTAIN)[:, 0]
        beta = self.beta or 1 / (parts + 1)
        self.weights = reweighted((1 - share) / share, beta)[1]
        self.shares.mul_(1 - beta)[parts] = beta

    def _weighted(self, data: Data) -> Data:
        return data.weighted(self.weights)

    def validate(self, batch: Batch) -> Terms:
        """The loss of the judge that learns; none for a game."""
        return {"judge": self.judge_loss(int(self.judging), batch)["classification"]} if self.judging else {}

    # -- what it can do ------------------------------------------------------------------------------------------

    def decode(self, z: Tensor) -> Tensor:
        """The samples [B, *shape] of latents and a number that chooses the part, [B, width + 1]."""
        begun = int((self.shares > 0).sum())
        return mixture([game.generator for game in self.games[:begun]], self.latent, self.shares[:begun], z)

    def draw_code(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """[len(noise), width + 1]."""
        return self._code(noise.normal(self.latent.size + 1))

    def draw(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """Each by the part that its own noise chooses, in proportion to the parts' shares."""
        return self.decode(self.draw_code(noise))


class BayesianGAN(GenerativeModel):
    """p(G | D) ~ N(G; 0, s^2) prod_i D(G(z_i)),  p(D | G) ~ N(D; 0, s^2) prod_i D(x_i) (1 - D(G(z_i))): chains.

    Saatchi & Wilson, 2017, arXiv:1705.09558, Eq. 1 and 2. Each of several generators and critics is a chain over
    weights: it begins near a maximum found by Adam and goes on by stochastic-gradient Hamiltonian Monte Carlo on

        U(w) / N = mean loss against all opponents + |w|^2 / (2 s^2 N),   N examples,

    at `temperature` / N, which is U itself at `temperature` (1 is the posterior). Samples come from all generators
    alike, as the chains stand; a code is a latent and one more number, which chooses one. prior: s. penalty: added to
    the loss of every critic, as a prior of smooth ones. burn_in: part of the training that is Adam's. Caution: of each
    chain only its last state is kept.
    """

    average = False  # a mean of a chain's weights is no draw from it

    def __init__(
        self,
        generators: Iterable[nn.Module],
        critics: Iterable[nn.Module],
        *,
        latent: Latent | int,
        examples: int,
        objective: Objective = nonsaturating,
        penalty: Penalty | None = None,
        prior: float = 10**0.5,
        burn_in: float = 0.75,
        sampler_rate: float = 1e-3,
        friction: float = 0.1,
        temperature: float = 1.0,
        optimizer: OptimizerFactory = adam(2e-4, betas=(0.5, 0.999)),
    ):
        super().__init__()
        self.generators, self.critics = nn.ModuleList(generators), nn.ModuleList(critics)
        self.latent: Latent = Normal(latent) if isinstance(latent, int) else latent
        self.examples, self.objective, self.penalty = max(1, examples), objective, penalty
        self.prior, self.burn_in, self.optimizer = prior, burn_in, optimizer
        self.compilable = penalty is None
        self.sampler = sghmc(sampler_rate, friction=friction, temperature=temperature / self.examples)

    # -- training ------------------------------------------------------------------------------------------------

    def players(self) -> Iterator[Player]:
        """All critics, all generators."""
        return self._moved_by(self.optimizer)

    def _moved_by(self, optimizer: OptimizerFactory) -> Iterator[Player]:
        yield Player("critics", self.critics, self.critic_loss, optimizer=optimizer)
        yield Player("generators", self.generators, self.generator_loss, optimizer=optimizer)

    def stages(self) -> Iterator[Stage]:
        """To the neighbourhood of a maximum, then the chains."""
        yield Stage("burn-in", self.players, share=self.burn_in)
        yield Stage("chains", partial(self._moved_by, self.sampler), share=1 - self.burn_in)

    def _fakes(self, batch: Batch) -> list[Tensor]:
        """Of each generator an equal part of about as many samples as the batch holds."""
        each = -(-len(batch) // len(self.generators))  # rounded up
        e = torch.randn(len(self.generators), each, self.latent.size, device=batch.x.device, dtype=batch.x.dtype)
        made = [generator(self.latent(part)) for generator, part in zip(self.generators, e, strict=True)]
        return list(self.spec.dequantise(torch.cat(made))[0].split(each))

    def _prior(self, members: nn.ModuleList) -> Tensor:
        """-log N(w; 0, s^2) / N of all weights, up to a constant."""
        squares = torch.stack([weight.square().sum() for weight in members.parameters()])
        return squares.sum() / (2 * self.prior**2 * self.examples)

    def critic_loss(self, batch: Batch) -> Terms:
        """The sum over critics of their potentials, each against all generators alike; per example."""
        x, fakes = self.spec.dequantise(batch.x)[0], torch.cat(self._fakes(batch))
        scores = [(critic(x), critic(fakes)) for critic in self.critics]
        terms = {"adversarial": torch.stack([self.objective.critic(real, fake) for real, fake in scores]).sum()}
        if self.penalty is not None:
            terms["penalty"] = torch.stack([self.penalty(critic, x, fakes) for critic in self.critics]).sum()
        return {**terms, "prior": self._prior(self.critics), **watched(*map(torch.cat, zip(*scores, strict=True)))}

    def generator_loss(self, batch: Batch) -> Terms:
        """The sum over generators of their potentials, each against all critics alike; per example."""
        fakes = self._fakes(batch)
        losses = [self.objective.generator(critic(part), None) for part in fakes for critic in self.critics]
        return {"adversarial": torch.stack(losses).sum() / len(self.critics), "prior": self._prior(self.generators)}

    # -- what it can do ------------------------------------------------------------------------------------------

    def decode(self, z: Tensor) -> Tensor:
        """The samples [B, *shape] of latents and a number that chooses the generator, [B, width + 1]."""
        shares = z.new_full((len(self.generators),), 1 / len(self.generators))
        return mixture(list(self.generators), self.latent, shares, z)

    def draw_code(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """[len(noise), width + 1]."""
        e = noise.normal(self.latent.size + 1)
        return torch.cat([self.latent(e[:, :-1]), e[:, -1:]], dim=1)

    def draw(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """Each by the generator that its own noise chooses."""
        return self.decode(self.draw_code(noise))
