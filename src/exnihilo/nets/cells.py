"""Residual cells with squeeze and excitation, and the largest singular values of their weights."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from exnihilo.nets.layers import norm

RESIDUAL = 0.1  # what a cell adds at the start, so that deep chains begin tame


class SqueezeExcite(nn.Module):
    """x * sigmoid(W_2 relu(W_1 mean(x))), one factor a channel (Hu et al., 2018, arXiv:1709.01507, Eq. 2-4)."""

    def __init__(self, channels: int):
        super().__init__()
        hidden = max(channels // 16, 4)
        self.gate = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x.mean(dim=(2, 3)))[:, :, None, None]


class EncoderCell(nn.Module):
    """x + 0.1 SE(conv(swish(norm(conv(swish(norm(x))))))), 3 x 3 (Vahdat & Kautz, 2020, arXiv:2007.03898, Figure 3b).

    Normalisation is over groups: that of the batch would differ between training and use.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            norm("group", channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1),
            norm("group", channels), nn.SiLU(), nn.Conv2d(channels, channels, 3, padding=1),
            SqueezeExcite(channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + RESIDUAL * self.body(x)


class DecoderCell(nn.Module):
    """x + 0.1 SE(norm(1 x 1(swish(norm(depthwise 5 x 5(swish(norm(1 x 1 to `expand` times the channels(norm(x))))))))).

    Vahdat & Kautz, 2020, arXiv:2007.03898, Figure 3a: depthwise convolutions see far for little cost.
    """

    def __init__(self, channels: int, expand: int = 6):
        super().__init__()
        wide = expand * channels
        self.body = nn.Sequential(
            norm("group", channels), nn.Conv2d(channels, wide, 1),
            norm("group", wide), nn.SiLU(), nn.Conv2d(wide, wide, 5, padding=2, groups=wide),
            norm("group", wide), nn.SiLU(), nn.Conv2d(wide, channels, 1),
            norm("group", channels), SqueezeExcite(channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + RESIDUAL * self.body(x)


class SpectralSum(nn.Module):
    """sum_i s_i, the largest singular value of every convolution's weight as a matrix [out, in * h * w].

    Yoshida & Miyato, 2017, arXiv:1705.10941, Eq. 10, without the square, as Vahdat & Kautz, 2020, arXiv:2007.03898,
    Eq. 7. Power iteration goes on from call to call: one vector a weight in a buffer, all weights of one shape at once.
    Caution: the matrix's singular value only bounds that of the convolution, up to a factor.
    """

    def __init__(self, module: nn.Module):
        super().__init__()
        shapes: dict[tuple[int, int], list[str]] = {}
        for name, layer in module.named_modules():
            if isinstance(layer, nn.Conv2d):
                matrix = layer.weight.flatten(1)
                shapes.setdefault((matrix.shape[0], matrix.shape[1]), []).append(name)
        self.names = list(shapes.values())
        for number, ((out, _), names) in enumerate(shapes.items()):
            self.register_buffer(f"left_{number}", nn.functional.normalize(torch.randn(len(names), out), dim=1))

    def forward(self, module: nn.Module) -> Tensor:
        """Of the module that it was made for (or a copy of it)."""
        total = torch.zeros((), device=cast(Tensor, self.left_0).device)
        for number, names in enumerate(self.names):
            weights = [cast(nn.Conv2d, module.get_submodule(name)).weight.flatten(1) for name in names]
            matrices = torch.stack(weights).float()
            left = cast(Tensor, getattr(self, f"left_{number}"))
            with torch.no_grad():
                right = nn.functional.normalize(torch.einsum("no,noi->ni", left, matrices), dim=1)
                left.copy_(nn.functional.normalize(torch.einsum("noi,ni->no", matrices, right), dim=1))
            total = total + torch.einsum("no,noi,ni->", left.clone(), matrices, right)
        return total
