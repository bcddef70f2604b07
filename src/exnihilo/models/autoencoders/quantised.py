"""Vector-quantised autoencoders: a code is the nearest entries of a codebook, and a second stage learns which occur."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss

from exnihilo.core import NOTHING, Batch, Conditions, Data, GenerativeModel, Noise, Player, Stage, Terms, adamw
from exnihilo.core.optimizers import OptimizerFactory
from exnihilo.models.autoencoders.gaps import said
from exnihilo.models.classical.family import training_examples
from exnihilo.nets.masked import CausalNetwork
from exnihilo.probability.likelihoods import Likelihood

INITIAL = 2048  # examples, and four times as many vectors of theirs, from which the codebook is begun
ROUNDS = 10  # of k-means
DEAD = 0.05  # of the even share of a code: with less it is given to a vector of the batch


class Codebook(nn.Module):
    """z -> e_k, k = argmin_j |z - e_j|^2, with codes that are running means of the vectors they stand for.

    van den Oord et al., 2017, arXiv:1711.00937, Eq. 1 and appendix A.1: N_k <- g N_k + (1 - g) n_k,
    m_k <- g m_k + (1 - g) sum z, e_k = m_k / N_k. All is held in buffers: `note` adds up what a batch gives to each
    code, `learn` moves the codes there and gives those that nothing is near to a vector of the batch, which also keeps
    every N_k away from 0.
    """

    counts: Tensor
    sums: Tensor
    seen_counts: Tensor
    seen_sums: Tensor
    candidates: Tensor

    def __init__(self, codes: int, size: int, *, decay: float = 0.99):
        super().__init__()
        self.codes, self.size, self.decay = codes, size, decay
        self.register_buffer("counts", torch.ones(codes))
        self.register_buffer("sums", torch.randn(codes, size))
        self.register_buffer("seen_counts", torch.zeros(codes), persistent=False)
        self.register_buffer("seen_sums", torch.zeros(codes, size), persistent=False)
        self.register_buffer("candidates", torch.zeros(codes, size), persistent=False)

    @property
    def vectors(self) -> Tensor:
        """[codes, size] e_k = m_k / N_k."""
        return self.sums / self.counts[:, None]

    @property
    def perplexity(self) -> Tensor:
        """exp(entropy of the codes' use): how many are in use, between 1 and `codes`."""
        share = self.counts / self.counts.sum()
        return torch.exp(-torch.xlogy(share, share).sum())

    @staticmethod
    def nearest(z: Tensor, vectors: Tensor) -> Tensor:
        """[N, size] -> [N] numbers of the nearest vectors, by one matrix product: |z|^2 is the same for all of them."""
        return torch.addmm(vectors.square().sum(dim=1), z, vectors.T, alpha=-2.0).argmin(dim=1)

    @torch.no_grad()
    def note(self, z: Tensor, index: Tensor) -> None:
        """Add up what vectors [N, size] give to their codes [N], and keep some of them for dead codes."""
        self.seen_counts.index_add_(0, index, torch.ones_like(index, dtype=z.dtype))  # bincount waits for the device
        self.seen_sums.index_add_(0, index, z)
        torch.index_select(z, 0, torch.randint(len(z), (self.codes,), device=z.device), out=self.candidates)

    @torch.no_grad()
    def learn(self) -> None:
        """Move the codes towards the vectors of the last batch, and revive those without any."""
        self.counts.lerp_(self.seen_counts, 1 - self.decay)
        self.sums.lerp_(self.seen_sums, 1 - self.decay)
        even = self.seen_counts.sum() / self.codes
        dead = self.counts < DEAD * even
        self.sums.copy_(torch.where(dead[:, None], self.candidates * even, self.sums))
        self.counts.copy_(torch.where(dead, even, self.counts))
        self.seen_counts.zero_()
        self.seen_sums.zero_()

    @torch.no_grad()
    def begin(self, z: Tensor, batch: int) -> None:
        """Take the codes from vectors [N, size] of data, by k-means; `batch`: vectors in a step of training."""
        from sklearn.cluster import kmeans_plusplus

        rows = z.repeat(-(-self.codes // len(z)), 1) if len(z) < self.codes else z
        chance = int(torch.randint(2**31 - 1, ()))
        found, _ = kmeans_plusplus(rows.cpu().numpy(), self.codes, random_state=chance)
        vectors = torch.as_tensor(found).to(z) + 1e-3 * z.std() * torch.randn(self.codes, self.size, device=z.device)
        for _ in range(ROUNDS):
            index = self.nearest(z, vectors)
            counts = torch.bincount(index, minlength=self.codes).to(z)
            means = torch.zeros_like(vectors).index_add_(0, index, z) / counts.clamp(min=1)[:, None]
            vectors = torch.where(counts[:, None] > 0, means, vectors)
        self.counts.fill_(batch / self.codes)
        self.sums.copy_(vectors * self.counts[:, None])


def rows_of(z: Tensor) -> Tensor:
    """[B, size, *places] -> [B * places, size]."""
    return z.movedim(1, -1).reshape(-1, z.shape[1])


class QuantisedAutoencoder(GenerativeModel):
    """Minimise  -log p(x | e(x)) + commitment |z(x) - sg e(x)|^2;  then fit p(code) to the codes of the data.

    van den Oord et al., 2017, arXiv:1711.00937, Eq. 3. z(x) [B, size, *places] is the encoder's answer and e(x) the
    nearest codes, through which gradients pass as if they were z(x). The prior, a causal network over the numbers of
    the codes, is learnt in a second stage, and makes it a model of the data:
    log p(x) >= log p(code(x)) + log p(x | code(x)), a bound since x could have come from other codes too.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        likelihood: Likelihood,
        codebook: Codebook,
        prior: CausalNetwork,
        *,
        commitment: float = 0.25,
        share: float = 0.5,
        optimizer: OptimizerFactory = adamw(1e-3),
        prior_optimizer: OptimizerFactory = adamw(2e-3),
    ):
        super().__init__()
        self.encoder, self.decoder, self.likelihood = encoder, decoder, likelihood
        self.codebook, self.prior = codebook, prior
        self.commitment, self.share = commitment, share
        self.optimizer, self.prior_optimizer = optimizer, prior_optimizer
        self.mass = likelihood.mass

    # -- codes ---------------------------------------------------------------------------------------------------

    def vectors_of(self, x: Tensor) -> Tensor:
        """[B, size, *places] z(x). Of a dequantised table the encoder reads the row that it stands for."""
        row = self.spec.quantise(x) if self.spec.kind == "table" else x
        return self.encoder(row).to(x)

    def quantise(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """[B, size, *places] -> (numbers [B, *places], the nearest codes, shaped as z); changes no code."""
        vectors = self.codebook.vectors
        index = self.codebook.nearest(rows_of(z), vectors).view(len(z), *z.shape[2:])
        return index, self.code_vectors(index)

    @torch.no_grad()
    def codes(self, x: Tensor) -> Tensor:
        """[B, *places] the numbers of the codes of x."""
        return self.quantise(self.vectors_of(x))[0]

    def code_vectors(self, index: Tensor) -> Tensor:
        """[B, *places] numbers -> [B, size, *places] codes."""
        return self.codebook.vectors[index].movedim(-1, 1)

    def parameters_of(self, z: Tensor) -> Tensor:
        """The parameters of p(x | z), in the precision of z."""
        return self.decoder(z).to(z)

    # -- training ------------------------------------------------------------------------------------------------

    def stages(self) -> Iterable[Stage]:
        """The autoencoder and its codebook; then the prior over its codes."""
        return [
            Stage("train", self.players, enter=self._begin_codebook),
            Stage("prior", self._prior_player, share=self.share),
        ]

    def players(self) -> Iterable[Player]:
        networks = nn.ModuleList([self.encoder, self.decoder, self.likelihood, self.codebook])
        return [Player("model", networks, self.loss, after=lambda terms: self.codebook.learn())]

    def _prior_player(self) -> Iterable[Player]:
        return [Player("prior", self.prior, self.prior_loss, optimizer=self.prior_optimizer)]

    @torch.no_grad()
    def _begin_codebook(self, data: Data) -> None:
        device = next(self.parameters()).device
        x = training_examples(data, INITIAL).to(device)
        z = torch.cat([self.vectors_of(part) for part in x.split(self.chunk)])
        rows = rows_of(z)
        chosen = torch.randperm(len(rows), device=device)[: 4 * INITIAL]
        self.codebook.begin(rows[chosen], batch=self.batch * len(rows) // len(x))

    def loss(self, batch: Batch) -> Terms:
        """Nats, and the distance of the vectors from their codes, summed over the places of a code."""
        x = batch.x if self.mass else self.spec.dequantise(batch.x)[0]
        mask = said(self.spec, batch.x, batch.mask)
        z = self.vectors_of(x)
        rows = rows_of(z.detach())
        vectors = self.codebook.vectors
        index = self.codebook.nearest(rows, vectors)
        if self.codebook.training:
            self.codebook.note(rows, index)
        near = vectors.index_select(0, index).view(len(z), *z.shape[2:], -1).movedim(-1, 1)
        through = z + (near - z).detach()
        return {
            "reconstruction": -self.likelihood.log_prob(self.parameters_of(through), x, mask).mean(),
            "commitment": self.commitment / len(z) * mse_loss(z, near, reduction="sum"),
            "codes_used": self.codebook.perplexity,
        }

    def prior_loss(self, batch: Batch) -> Terms:
        """-log p(code) in nats."""
        return {"code": -self.code_log_prob(self.codes(batch.x)).mean()}

    # -- the distribution of codes -------------------------------------------------------------------------------

    def code_log_prob(self, index: Tensor) -> Tensor:
        """[B] log p(code) of numbers [B, *places], in nats."""
        entries = index.view(len(index), *self.prior.shape)
        logits = self.prior(entries.float(), None).float().unflatten(1, (self.codebook.codes, -1))
        return -cross_entropy(logits, entries, reduction="none").flatten(1).sum(dim=1)

    def draw_code(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """[len(noise), size, *places] codes drawn from the prior, one place after the other."""
        walk = self.prior.walk(len(noise), None)
        for place in self.prior.order():
            walk.write(place, noise.categorical(walk.predict(place)).to(walk.x))
        places = self.prior.shape[1:] or self.prior.shape  # a map's first dimension is its one colour
        return self.code_vectors(walk.x.long().view(len(noise), *places))

    # -- capabilities --------------------------------------------------------------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        """[B, size, *places] the codes of x, as vectors; `codes` has their numbers."""
        return self.quantise(self.vectors_of(x))[1]

    def decode(self, z: Tensor) -> Tensor:
        """[B, *shape] the mean of p(x | z), for the codes nearest to z."""
        return self.likelihood.mean(self.parameters_of(self.quantise(z)[1]))

    def draw(self, noise: Noise, asked: Conditions = NOTHING, *, mode: Literal["draw", "mean"] = "draw") -> Tensor:
        """code ~ prior, then x ~ p(x | code) or, with mode="mean", its smoother mean, which is no sample."""
        parameters = self.parameters_of(self.draw_code(noise))
        return self.likelihood.mean(parameters) if mode == "mean" else self.likelihood.draw(parameters, noise)

    @torch.no_grad()
    def bound_terms(self, x: Tensor, *, label: Tensor | None = None, seed: int = 0) -> Terms:
        """-log p(x | code(x)), and -log p(code(x)), the divergence of a posterior on one code; [B] nats."""
        index, near = self.quantise(self.vectors_of(x))
        return {
            "reconstruction": -self.likelihood.log_prob(self.parameters_of(near), x),
            "divergence": -self.code_log_prob(index),
        }

    @torch.no_grad()
    def log_prob_bound(self, x: Tensor, *, k: int = 1, label: Tensor | None = None, seed: int = 0) -> Tensor:
        """[B] log p(code(x)) + log p(x | code(x)) in nats; nothing is drawn, so k changes nothing."""
        terms = self.bound_terms(x)
        return -terms["reconstruction"] - terms["divergence"]
