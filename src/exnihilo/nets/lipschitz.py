"""Networks that shorten distances: layers whose largest singular value is bounded."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, linear, normalize, softplus

STARTED, IN_TRAINING, IN_EVALUATION = 30, 1, 5  # power iterations


class LipSwish(nn.Module):
    """x sigmoid(beta x) / 1.1 with beta > 0 learned: smooth, and no slope exceeds 1.

    Chen et al., 2019, arXiv:1906.02735, section 3.3.
    """

    def __init__(self) -> None:
        super().__init__()
        self.raw = nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(softplus(self.raw) * x) / 1.1


class Bounded(nn.Module):
    """A linear operator A + bias, taken as A min(1, bound / sigma), sigma its largest singular value.

    Behrmann et al., 2019, arXiv:1811.00995, Eq. 2. sigma comes from power iterations on the operator itself (Gouk et
    al., 2018), one per call in training, from a buffer; they approach it from below, so `bound` is kept up to a little.
    """

    weight: nn.Parameter
    right: Tensor  # an input of norm 1 that is stretched most

    def __init__(self, bound: float, shape: Sequence[int]):
        super().__init__()
        self.bound = bound
        self.register_buffer("right", normalize(torch.randn(1, math.prod(shape))).view(1, *shape))

    def apply_to(self, x: Tensor) -> Tensor:
        """A x."""
        raise NotImplementedError

    def settled(self) -> Callable[[Tensor], Tensor]:
        """The layer with its norm as it is bounded now, measured once for many calls."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.settled()(x)

    def transposed(self, y: Tensor) -> Tensor:
        """A^T y."""
        raise NotImplementedError

    @torch.no_grad()
    def iterate(self, times: int) -> Tensor:
        """The buffer after some more power iterations; the buffer itself stays."""
        right = self.right
        for _ in range(times):
            right = self.transposed(self.apply_to(right))
            right = right / right.norm().clamp(min=1e-12)
        return right

    @torch.no_grad()
    def shorten(self, norm: float) -> None:
        """Divide the weights so that the largest singular value is `norm`."""
        self.weight.mul_(norm / self.apply_to(self.right).norm())

    def shrink(self) -> Tensor:
        """min(1, bound / sigma), with a gradient in the weights."""
        right = self.iterate(IN_TRAINING if self.training else IN_EVALUATION)
        if self.training:
            self.right.copy_(right)
        sigma = self.apply_to(right.clone()).norm()
        return (self.bound / sigma.clamp(min=1e-12)).clamp(max=1.0)


class BoundedLinear(Bounded):
    """[B, in] -> [B, out]."""

    def __init__(self, size_in: int, size_out: int, bound: float):
        super().__init__(bound, (size_in,))
        self.weight = nn.Parameter(torch.empty(size_out, size_in))
        self.bias = nn.Parameter(torch.zeros(size_out))
        nn.init.orthogonal_(self.weight)
        self.right.copy_(self.iterate(STARTED))

    def apply_to(self, x: Tensor) -> Tensor:
        return linear(x, self.weight)

    def transposed(self, y: Tensor) -> Tensor:
        return linear(y, self.weight.T)

    def settled(self) -> Callable[[Tensor], Tensor]:
        weight = self.weight * self.shrink()
        return lambda x: linear(x, weight, self.bias)


class BoundedConv2d(Bounded):
    """(B, in, H, W) -> (B, out, H, W): the convolution at these sides is bounded, not its kernel as a matrix."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, sides: Sequence[int], bound: float):
        super().__init__(bound, (channels_in, *sides))
        self.padding = kernel // 2
        self.weight = nn.Parameter(torch.empty(channels_out, channels_in, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(channels_out))
        nn.init.kaiming_normal_(self.weight)
        self.right.copy_(self.iterate(STARTED))

    def apply_to(self, x: Tensor) -> Tensor:
        return conv2d(x, self.weight, padding=self.padding)

    def transposed(self, y: Tensor) -> Tensor:
        return conv_transpose2d(y, self.weight, padding=self.padding)

    def settled(self) -> Callable[[Tensor], Tensor]:
        weight = self.weight * self.shrink()
        return lambda x: conv2d(x, weight, self.bias, padding=self.padding)


class Contraction(nn.Module):
    """(B, *shape) -> (B, *shape), `bound`^(depth + 1)-Lipschitz: LipSwish before every bounded layer.

    Fully connected for vectors; for pictures 3 x 3, 1 x 1, ..., 3 x 3 convolutions. The last layer starts with a norm
    of 0.1, so that x + g(x) starts near the identity.
    """

    def __init__(self, shape: Sequence[int], width: int, *, bound: float = 0.98, depth: int = 2):
        super().__init__()
        sizes = [shape[0]] + [width] * depth + [shape[0]]
        self.activations = nn.ModuleList(LipSwish() for _ in sizes[1:])
        self.layers = nn.ModuleList()
        for k, (before, after) in enumerate(zip(sizes[:-1], sizes[1:], strict=True)):
            kernel = 3 if k in (0, depth) else 1
            self.layers.append(
                BoundedConv2d(before, after, kernel, shape[1:], bound)
                if len(shape) == 3
                else BoundedLinear(before, after, bound)
            )
        cast(Bounded, self.layers[-1]).shorten(0.1)

    def settled(self) -> Callable[[Tensor], Tensor]:
        """The network with every norm as it is bounded now, measured once for many calls."""
        layers = [cast(Bounded, layer).settled() for layer in self.layers]

        def apply(x: Tensor) -> Tensor:
            for activation, layer in zip(self.activations, layers, strict=True):
                x = layer(activation(x))
            return x

        return apply

    def forward(self, x: Tensor) -> Tensor:
        return self.settled()(x)
