"""Attention between the places of a picture."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from exnihilo.nets.layers import norm, zero_init


class SelfAttention(nn.Module):
    """x + W softmax(Q K^T / sqrt(d)) V over the places of a feature map: (B, C, H, W) -> the same; starts as x.

    Vaswani et al., 2017, arXiv:1706.03762, Eq. 1, one head per 64 channels (Dhariwal & Nichol, 2021,
    arXiv:2105.05233). Time and memory grow with (H W)^2: for small maps.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.heads = max(1, channels // 64)
        while channels % self.heads:
            self.heads -= 1
        self.norm = norm("group", channels)
        self.enter = nn.Conv2d(channels, 3 * channels, 1)
        self.leave = zero_init(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        parts = self.enter(self.norm(x)).unflatten(1, (3, self.heads, -1)).flatten(4)  # (B, 3, heads, d, HW)
        query, key, value = parts.transpose(-1, -2).unbind(1)  # each (B, heads, HW, d)
        mixed = scaled_dot_product_attention(query, key, value).transpose(-1, -2)  # (B, heads, d, HW)
        return x + self.leave(mixed.reshape(x.shape))
