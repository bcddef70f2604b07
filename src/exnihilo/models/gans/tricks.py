"""What is known to calm the game: what the critic sees, what it is told, and how batches are looked at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from exnihilo.models.gans.objectives import Objective
from exnihilo.nets.layers import BatchNorm

# -- what the critic sees and is told --------------------------------------------------------------------------------


@dataclass(frozen=True)
class InstanceNoise:
    """x + scale (1 - progress) e,  e ~ N(0, I): reals and fakes overlap at first, so the critic cannot be sure.

    Sonderby et al., 2017, arXiv:1610.04490, Section 3.4. A `sight` of a GAN; scale is in units of model space. Where
    it does not fade, the noise stays as strong: against learning a few labelled examples by heart.
    """

    scale: float = 0.1
    fades: bool = True

    def __call__(self, x: Tensor, progress: float) -> Tensor:
        return x + self.scale * (1 - progress if self.fades else 1.0) * torch.randn_like(x)


def flipped(objective: Objective, share: float) -> Objective:
    """The objective with real and fake exchanged for the critic in this share of the pairs, by chance.

    Chintala et al., 2016, "How to train a GAN?", tip 6. Flips smooth both sides, so the best critic no longer falls to
    where there is no data: keep the share small.
    """

    def critic(real: Tensor, fake: Tensor) -> Tensor:
        swap = torch.rand(len(real), *[1] * (real.ndim - 1), device=real.device) < share
        return objective.critic(torch.where(swap, fake, real), torch.where(swap, real, fake))

    return replace(objective, critic=critic)


def led_by_contents(objective: Objective) -> Objective:
    """The critic's side of an objective alone: the generator follows its contents, and no score."""
    return Objective(objective.critic, lambda fake, real: fake.new_zeros(()))


@dataclass(frozen=True)
class FeatureMatching:
    """weight |E f(x) - E f(G(z))|^2 with f the critic's last hidden layer: a wish of the generator.

    Salimans et al., 2016, arXiv:1606.03498, Section 3.1. Caution: it compares means of batches, so it neither asks for
    single good samples nor goes with gradient accumulation.
    """

    weight: float = 1.0

    def __call__(self, critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
        features: Callable[[Tensor], Tensor] = critic.features  # type: ignore[assignment]
        gap = features(real).mean(dim=0) - features(fake).mean(dim=0)
        return self.weight * gap.square().sum()


# -- how alike a batch is --------------------------------------------------------------------------------------------


class MinibatchDiscrimination(nn.Module):
    """f [B, A] -> [f, o] [B, A + kernels],  o(x_i)_b = sum_{j != i} exp(-|M_ib - M_jb|_1),  M_i = f_i T.

    Salimans et al., 2016, arXiv:1606.03498, Section 3.2, T [A, kernels, size]: a critic that sees how near the other
    examples of a batch are notices a generator that always makes the same. In eval mode, where an answer must not
    depend on who else was asked, o is its running mean. Caution: no gradient accumulation.
    """

    usual: Tensor

    def __init__(self, features: int, kernels: int, size: int = 8):
        super().__init__()
        self.kernels = kernels
        self.project = nn.Linear(features, kernels * size, bias=False)
        self.register_buffer("usual", torch.zeros(kernels))

    def closeness(self, f: Tensor) -> Tensor:
        """[B, kernels] o of every example."""
        rows = self.project(f).view(len(f), self.kernels, -1).transpose(0, 1)  # [kernels, B, size]
        near = torch.exp(-(rows[:, :, None] - rows[:, None]).abs().sum(dim=3))  # [kernels, B, B]
        return (near.sum(dim=2) - near.diagonal(dim1=1, dim2=2)).T

    def forward(self, f: Tensor) -> Tensor:
        if not self.training:
            return torch.cat([f, self.usual.expand(len(f), -1)], dim=1)
        o = self.closeness(f)
        self.usual.lerp_(o.detach().mean(dim=0), 0.1)
        return torch.cat([f, o], dim=1)


class HeadedCritic(nn.Module):
    """head([f, o]): [B, *shape] -> [B, outputs], from features f and how near others of the batch are to them.

    network: [B, *shape] -> [B, size]; `features(x)` is its answer after a nonlinearity. kernels = 0 leaves o out.
    """

    def __init__(self, network: nn.Module, size: int, outputs: int, kernels: int = 0):
        super().__init__()
        self.features = nn.Sequential(network, nn.LeakyReLU(0.2))
        self.feature_size = size
        near = [MinibatchDiscrimination(size, kernels)] if kernels else []
        self.head = nn.Sequential(*near, nn.Linear(size + kernels, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


# -- normalisation that does not know the batch ----------------------------------------------------------------------


class VirtualBatchNorm(nn.Module):
    """Each example of (B, C, ...) normalised by the statistics of a reference batch and itself, by channel:

    m = x / (n + 1) + n m_ref / (n + 1) and so for the squares. Salimans et al., 2016, arXiv:1606.03498, Section 3.5.
    The first `count` rows are the reference, normalised by their own statistics. So no example depends on the others
    of its batch, at the cost of a reference that passes with each of them.
    """

    def __init__(self, like: BatchNorm, count: int, eps: float = 1e-5):
        super().__init__()
        self.weight, self.bias, self.count, self.eps = like.weight, like.bias, count, eps

    def forward(self, x: Tensor) -> Tensor:
        places = list(range(2, x.ndim))
        first, second = (m.mean(dim=places) if places else m for m in (x, x.square()))  # [B, C] of each example
        moments = []
        for moment in (first, second):
            reference = moment[: self.count].mean(dim=0, keepdim=True)  # [1, C]
            mixed = (moment[self.count :] + self.count * reference) / (self.count + 1)
            moments.append(torch.cat([reference.expand(self.count, -1), mixed]))
        mean, square = moments
        scale = self.weight * (square - mean.square() + self.eps).rsqrt()  # [B, C]
        shape = (*mean.shape, *[1] * len(places))
        return (x - mean.view(shape)) * scale.view(shape) + self.bias.view(1, -1, *[1] * len(places))


class Referenced(nn.Module):
    """A generator [B, latent] -> [B, ...] whose batch normalisation goes by a fixed reference batch of latents.

    The network's `BatchNorm` layers become `VirtualBatchNorm`. Cost: that of `count` more examples in every pass.
    """

    reference: Tensor

    def __init__(self, network: nn.Module, latent: int, count: int = 64):
        super().__init__()
        self.network, self.count = network, count
        self.register_buffer("reference", torch.randn(count, latent))
        for module in list(network.modules()):
            for name, layer in list(module.named_children()):
                if isinstance(layer, BatchNorm):
                    setattr(module, name, VirtualBatchNorm(layer, count))

    def forward(self, z: Tensor) -> Tensor:
        return self.network(torch.cat([self.reference, z]))[self.count :]
