"""Variational autoencoders with a ladder of codes: each level given those above it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Annotated, Literal, NamedTuple, cast

import torch
from torch import Tensor, nn

from exnihilo.core import NOTHING, Batch, Conditions, GenerativeModel, Noise, Terms, adamw
from exnihilo.core.optimizers import OptimizerFactory
from exnihilo.models.autoencoders.estimators import active_units
from exnihilo.models.autoencoders.gaps import said
from exnihilo.models.autoencoders.levels import Level
from exnihilo.nets.cells import SpectralSum
from exnihilo.probability.distributions import DiagonalNormal
from exnihilo.probability.divergences import kl_normal
from exnihilo.probability.likelihoods import Likelihood


class Step(NamedTuple):
    """What happened at a level on the way down: its code, and both distributions of it."""

    z: Tensor
    posterior: DiagonalNormal
    prior: DiagonalNormal

    @property
    def kl(self) -> Tensor:
        """[B, *shape] KL(q || p) of every unit, in nats."""
        q, p = self.posterior, self.prior
        return kl_normal(q.mean, q.log_variance, p.mean, p.log_variance)

    @property
    def log_ratio(self) -> Tensor:
        """[B] log p(z) - log q(z)."""
        return self.prior.log_prob(self.z) - self.posterior.log_prob(self.z)


class HierarchicalVAE(GenerativeModel):
    """Maximise  E[log p(x | z)] - KL(q(z_L | x) || p(z_L)) - sum_{l<L} E KL(q(z_l | x, z_>l) || p(z_l | z_>l)).

    Sonderby et al., 2016, arXiv:1602.02282, Eq. 1-6; Vahdat & Kautz, 2020, arXiv:2007.03898, Eq. 3. `bottom_up` makes
    a feature of x for every level; `levels`, from the top (z_L) down, carry a state to the decoder, which makes the
    parameters of p(x | z). Without x the way down is the generator.

    warm_up: share of the training in which the divergence is weighted up from 0, without which upper levels die;
    balance: meanwhile levels that say little pay less (arXiv:2007.03898, appendix A). spectral: weight of the largest
    singular values of the convolutions (Eq. 7 there).
    """

    def __init__(
        self,
        bottom_up: nn.Module,
        levels: Iterable[Level],
        decoder: nn.Module,
        likelihood: Likelihood,
        *,
        warm_up: float = 0.3,
        balance: bool = False,
        spectral: float = 0.0,
        optimizer: OptimizerFactory = adamw(1e-3),
        batch: int = 64,
    ):
        super().__init__()
        self.bottom_up, self.levels = bottom_up, nn.ModuleList(levels)
        self.decoder, self.likelihood = decoder, likelihood
        self.warm_up, self.balance, self.spectral = warm_up, balance, spectral
        self.singular_values = SpectralSum(self) if spectral else None
        self.optimizer, self.batch, self.mass = optimizer, batch, likelihood.mass

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of the codes, from the top down."""
        return [level.shape for level in self._levels()]

    def _levels(self) -> list[Level]:
        return cast("list[Level]", list(self.levels))

    # -- the way down --------------------------------------------------------------------------------------------

    def descend(self, n: int, choose: Callable[[int, Tensor, DiagonalNormal], Tensor]) -> Tensor:
        """The parameters of p(x | z) of n examples; choose(number of the level, its state, p(z | above)) says z."""
        state = torch.zeros(n, 0, device=next(self.parameters()).device)
        for number, level in enumerate(self._levels()):
            inside = level.enter(state)
            state = level.leave(inside, choose(number, inside, level.prior(inside)))
        return self.decoder(state).float()

    def features(self, x: Tensor) -> list[Tensor]:
        """Of x, one for each level. Of a dequantised table the encoder reads the row that it stands for."""
        row = self.spec.quantise(x) if self.spec.kind == "table" else x
        return self.bottom_up(row)

    def infer(self, features: list[Tensor], epsilon: Callable[[Tensor], Tensor]) -> tuple[Tensor, list[Step]]:
        """Down with z ~ q(z | x, above): the parameters of p(x | z), and what happened at every level.

        epsilon makes standard normal numbers in the shape of a mean; zeros give the means themselves.
        """
        steps: list[Step] = []

        def choose(number: int, inside: Tensor, prior: DiagonalNormal) -> Tensor:
            posterior = self._levels()[number].posterior(inside, features[number], prior)
            z = posterior.at(epsilon(posterior.mean))
            steps.append(Step(z, posterior, prior))
            return z

        return self.descend(len(features[0]), choose), steps

    # -- training ------------------------------------------------------------------------------------------------

    def loss(self, batch: Batch) -> Terms:
        """Nats; `divergence_1` is that of the level next to the data, unweighted."""
        x = batch.x if self.mass else self.spec.dequantise(batch.x)[0]
        mask = said(self.spec, batch.x, batch.mask)
        parameters, steps = self.infer(self.features(x), torch.randn_like)
        kls = [step.kl.flatten(1) for step in steps]  # top first, [B, size]
        each = torch.stack([kl.sum(dim=1).mean() for kl in kls])
        terms = {
            "reconstruction": -self.likelihood.log_prob(parameters, x, mask).mean(),
            "divergence": (self.weights(each.detach()) * each).sum(),
            "active_units": active_units(torch.cat(kls, dim=1)),
        }
        if self.singular_values is not None:
            terms["spectral"] = self.spectral * self.singular_values(self)
        return terms | {f"divergence_{len(kls) - number}": kl.detach() for number, kl in enumerate(each)}

    def weights(self, kl: Tensor) -> Tensor:
        """[levels] of the divergences, from theirs: beta, while warming up times size_l KL_l over the mean of those."""
        beta = min(1.0, self.progress / self.warm_up) if self.warm_up else 1.0
        if beta == 1 or not self.balance:
            return torch.full_like(kl, beta)
        amount = kl.new_tensor([math.prod(shape) for shape in self.shapes]) * (kl + 0.01)
        return beta * amount / amount.mean()

    # -- capabilities --------------------------------------------------------------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        """[B, sum of the sizes] the means of all levels one after the other, the top first, each given those above."""
        steps = self.infer(self.features(x), torch.zeros_like)[1]
        return torch.cat([step.z.flatten(1) for step in steps], dim=1)

    def decode(self, z: Tensor) -> Tensor:
        """[B, *shape] the mean of p(x | z), z as `encode` gives it."""
        parts = z.split([math.prod(shape) for shape in self.shapes], dim=1)
        codes = [part.unflatten(1, shape) for part, shape in zip(parts, self.shapes, strict=True)]
        return self.likelihood.mean(self.descend(len(z), lambda number, inside, prior: codes[number]))

    def _generate(self, noise: Noise, temperature: float = 1.0) -> tuple[Tensor, Tensor]:
        """(parameters of p(x | z), z [B, sum of the sizes]) with z from the priors."""
        codes: list[Tensor] = []

        def choose(number: int, inside: Tensor, prior: DiagonalNormal) -> Tensor:
            codes.append(prior.at(temperature * noise.like(prior.mean)))
            return codes[-1]

        parameters = self.descend(len(noise), choose)
        return parameters, torch.cat([z.flatten(1) for z in codes], dim=1)

    def draw_code(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """[len(noise), sum of the sizes] z_L ~ p(z_L), then z_l ~ p(z_l | z_>l), down to the data."""
        return self._generate(noise)[1]

    def draw(
        self,
        noise: Noise,
        asked: Conditions = NOTHING,
        *,
        temperature: Annotated[float, 0.0, 2.0] = 1.0,
        mode: Literal["draw", "mean"] = "draw",
    ) -> Tensor:
        """z from the priors, their standard deviations times `temperature`; then x ~ p(x | z), or mode="mean".

        Colder samples are smoother and less diverse; a mean is no sample of the model.
        """
        parameters = self._generate(noise, temperature)[0]
        return self.likelihood.mean(parameters) if mode == "mean" else self.likelihood.draw(parameters, noise)

    @torch.no_grad()
    def bound_terms(self, x: Tensor, *, label: Tensor | None = None, seed: int = 0) -> Terms:
        """-log p(x | z) with z ~ q(z | x), and the divergences of all levels, each in closed form; [B] nats."""
        parameters, steps = self.infer(self.features(x), Noise(seed, len(x), device=x.device).like)
        return {
            "reconstruction": -self.likelihood.log_prob(parameters.to(x), x),
            "divergence": torch.stack([step.kl.flatten(1).sum(dim=1) for step in steps]).sum(dim=0),
        }

    @torch.no_grad()
    def log_prob_bound(self, x: Tensor, *, k: int = 1, label: Tensor | None = None, seed: int = 0) -> Tensor:
        """[B] log 1/k sum_i p(x | z_i) p(z_i) / q(z_i | x) in nats, z_i ~ q(z | x): a lower bound on average.

        For k = 1 with the divergences in closed form. A figure: no gradient passes.
        """
        if k == 1:
            terms = self.bound_terms(x, seed=seed)
            return -terms["reconstruction"] - terms["divergence"]
        noise = Noise(seed, len(x), device=x.device)
        features = self.features(x)
        parts = []
        at_once = max(1, 2048 // len(x))
        for start in range(0, k, at_once):
            count = min(at_once, k - start)
            repeated = [feature.repeat_interleave(count, dim=0) for feature in features]
            parameters, steps = self.infer(repeated, lambda mean: self._per_copy(noise, mean))
            log_weight = self.likelihood.log_prob(parameters.to(x), x.repeat_interleave(count, dim=0))
            log_weight = log_weight + torch.stack([step.log_ratio for step in steps]).sum(dim=0)
            parts.append(log_weight.view(len(x), count).logsumexp(dim=1))
        return torch.stack(parts).logsumexp(dim=0) - math.log(k)

    @staticmethod
    def _per_copy(noise: Noise, mean: Tensor) -> Tensor:
        """Standard normal numbers like `mean` [B * copies, ...], from the streams of B examples."""
        return noise.normal(len(mean) // len(noise), *mean.shape[1:], dtype=mean.dtype).flatten(0, 1)
