"""One set of weights read in several orders: ensembles over orders, and training for all orders at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from exnihilo.core import Batch, Noise, Terms, check_mask
from exnihilo.core.optimizers import OptimizerFactory, adam
from exnihilo.models.autoregressive.family import Autoregressive
from exnihilo.nets.layers import Condition
from exnihilo.nets.masked import CausalNetwork
from exnihilo.nets.nade import NADE, NADECell
from exnihilo.probability.likelihoods import Likelihood


def orders(entries: int, count: int) -> Tensor:
    """[count, entries] permutations that depend on nothing but these numbers; the first is the raster order."""
    permutations = Noise(0, count).uniform(entries).argsort(dim=1)
    permutations[0] = torch.arange(entries)
    return permutations


def random_degrees(width: int, depth: int, entries: int, number: int, *, lowest: int = 1) -> list[Tensor]:
    """Hidden degrees of mask set `number`: m of layer l uniform on min m of layer l - 1 ... D - 1.

    Germain et al., 2015, arXiv:1502.03509, section 4.2. lowest: 0 where a vector is seen as well.
    """
    degrees: list[Tensor] = []
    for uniform in Noise(1, [number]).uniform(depth, width)[0]:
        degrees.append(lowest + (uniform * max(1, entries - lowest)).long())
        lowest = int(degrees[-1].min())
    return degrees


class AutoregressiveOrders(Autoregressive):
    """p(x) = 1/S sum_s p_s(x), the average over networks that share their weights and differ in order or masks.

    Germain et al., 2015, arXiv:1502.03509, section 4.2: every batch trains one of them, drawn at random.
    """

    def __init__(
        self,
        networks: Sequence[CausalNetwork],
        likelihood: Likelihood,
        *,
        condition: Condition | None = None,
        optimizer: OptimizerFactory = adam(1e-3),
        batch: int = 64,
    ):
        super().__init__(networks[0], likelihood, condition=condition, optimizer=optimizer, batch=batch)
        self.others = nn.ModuleList(networks[1:])

    @property
    def networks(self) -> list[CausalNetwork]:
        """All of them."""
        return [self.network, *cast("list[CausalNetwork]", list(self.others))]

    def _given(self, x: Tensor, vector: Tensor | None) -> Tensor:
        each = [self._along(network, x, vector) for network in self.networks]
        return torch.stack(each).logsumexp(dim=0) - math.log(len(each))

    def _along(self, network: CausalNetwork, x: Tensor, vector: Tensor | None) -> Tensor:
        return self.likelihood.log_prob(network(x, vector).to(x.dtype), x)

    def loss(self, batch: Batch) -> Terms:
        x = batch.x if self.mass else self.spec.dequantise(batch.x)[0]
        chosen = self.networks[int(torch.randint(len(self.networks), ()))]
        return {"nats": -self._along(chosen, x, self._vector(len(x), batch.label)).mean()}

    def _fill(
        self, noise: Noise, vector: Tensor | None, x: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Each sample along an order of its own, drawn first."""
        which = noise.categorical(torch.zeros(len(noise), len(self.networks), device=noise.device))
        start, parts, rows = noise.position, [], []
        for number, network in enumerate(self.networks):
            mine = (which == number).nonzero()[:, 0]
            if not len(mine):
                continue
            stream = noise[mine]
            some = [None if part is None else part[mine] for part in (vector, x, mask)]
            parts.append(self._fill_along(network, stream, *some))
            rows.append(mine)
            start = stream.position
        noise.position = start
        back = torch.cat(rows).argsort()
        return torch.cat([part[0] for part in parts])[back], torch.cat([part[1] for part in parts])[back]


class OrderAgnostic(AutoregressiveOrders):
    """One cell that predicts every entry from any others, trained for all orders at once.

    Uria et al., 2014, arXiv:1310.1757, Eq. 11: with d - 1 entries known, in a random order o,

        D / (D - d + 1) * sum over the unknown i of -log p(x_i | x_{o_1}, ..., x_{o_{d-1}}),

    whose mean over d and o is that of -log p_o(x) over the orders. Densities and samples: the average over a few orders
    (EoNADE). Gaps of any shape are drawn given all that is known.
    """

    network: NADE

    @property
    def cell(self) -> NADECell:
        """What all orders share."""
        return self.network.cell

    def loss(self, batch: Batch) -> Terms:
        x = batch.x if self.mass else self.spec.dequantise(batch.x)[0]
        rank = torch.rand(len(x), self.spec.size, device=x.device).argsort(dim=1)
        known = torch.randint(self.spec.size, (len(x), 1), device=x.device)  # d - 1
        return {"nats": self.estimate(x, (rank < known).to(x), batch.label).mean()}

    def estimate(self, x: Tensor, mask: Tensor, label: Tensor | None = None) -> Tensor:
        """[B] the sum above, known entries being those where mask [B, D] is 1."""
        parameters = self._given_known(x, mask, self._vector(len(x), label))
        entries = self.likelihood.entries(parameters.to(x.dtype), x).flatten(1)
        unknown = 1 - mask
        return -(entries * unknown).sum(dim=1) * mask.shape[1] / unknown.sum(dim=1)

    def _given_known(self, x: Tensor, mask: Tensor, vector: Tensor | None) -> Tensor:
        parameters = self.cell.given(x.flatten(1), mask, vector)  # [B, per_entry, D]
        return parameters.reshape(len(x), -1, *x.shape[2:])

    @torch.no_grad()
    def impute(self, x: Tensor, mask: Tensor, *, seed: int = 0) -> Tensor:
        """The missing entries one after the other in a random order, each given all that is there: no weighing.

        With classes, which the known entries must choose between, completions are weighed as for one order.
        """
        if self.labelled:
            return super().impute(x, mask, seed=seed)
        check_mask(x, mask)
        noise = Noise(seed, len(x), device=x.device)
        filled, known = torch.where(mask, x, torch.zeros_like(x)), mask.flatten(1).clone()
        order = (known.double() * 2 + noise.uniform(self.spec.size, dtype=torch.float64)).argsort(dim=1)
        rows = torch.arange(len(x), device=x.device)
        for step in range(int((~known).sum(dim=1).max())):
            value = self.likelihood.draw(self._given_known(filled, known.to(x), None), noise).flatten(1)
            place = order[:, step]
            missing = ~known[rows, place]
            flat = filled.flatten(1)
            flat[rows[missing], place[missing]] = value[rows[missing], place[missing]]
            filled, known[rows, place] = flat.view_as(x), True
        return filled
