"""Causal convolutions by shifting instead of masking, and what evaluates them: on whole maps, or where it is new."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad


class ShiftedConv(nn.Module):
    """A convolution over the rows down to its own; in columns over both sides (`wide`), or over those up to its own.

    Salimans et al., 2017, arXiv:1701.05517, section 2.5, footnote: zeros in front and no more than that. A stride of 2
    keeps the even rows and columns. mask [out, in, rows, columns]: the weights that are open.
    """

    mask: Tensor | None

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        rows: int,
        columns: int,
        *,
        wide: bool = False,
        stride: int = 1,
        mask: Tensor | None = None,
        gain: float = 1.0,
    ):
        super().__init__()
        self.rows, self.columns, self.stride = rows, columns, stride
        self.left, self.right = (columns // 2, columns // 2) if wide else (columns - 1, 0)
        self.weight = nn.Parameter(torch.empty(channels_out, channels_in, rows, columns))
        self.bias = nn.Parameter(torch.zeros(channels_out))
        self.register_buffer("mask", None if mask is None else mask.float(), persistent=False)
        seen = channels_in * rows * columns if mask is None else float(mask.sum()) / channels_out
        bound = gain / math.sqrt(max(1.0, seen))
        nn.init.uniform_(self.weight, -bound, bound)

    def kernel(self) -> Tensor:
        """The weights, those that are masked 0."""
        return self.weight if self.mask is None else self.weight * self.mask

    def forward(self, x: Tensor) -> Tensor:
        padded = pad(x, (self.left, self.right, self.rows - 1, 0))
        return conv2d(padded, self.kernel(), self.bias, stride=self.stride)


def shift_down(x: Tensor) -> Tensor:
    """Every row one lower, the first 0."""
    return pad(x, (0, 0, 1, 0))[:, :, :-1]


def shift_right(x: Tensor) -> Tensor:
    """Every column one further right, the first 0."""
    return pad(x, (1, 0))[..., :-1]


class Look:
    """How a network's layers are evaluated: here on whole maps [B, channels, H, W]; a walk looks at what is new only.

    level: how often the map was halved.
    """

    def through(self, conv: ShiftedConv, h: Tensor, level: int = 0) -> Tensor:
        """The convolution of h."""
        return conv(h)

    def halve(self, conv: ShiftedConv, h: Tensor, level: int) -> Tensor | None:
        """A convolution of stride 2, from a level to the next; None where nothing is new there."""
        return conv(h)

    def double(self, conv: nn.ConvTranspose2d, low: Tensor | None, level: int, sides: tuple[int, int]) -> Tensor:
        """The transposed convolution back to a level; low is None where nothing was new."""
        assert low is not None
        return conv(low)[:, :, : sides[0], : sides[1]]

    def here(self, rows: Tensor, level: int = 0) -> Tensor:
        """What is looked at, of features of whole rows."""
        return rows


class NewRow(Look):
    """Looks at one row [n, channels, 1, W] after the other: `row` is set before each."""

    def __init__(self) -> None:
        self.row = 0
        self.held: dict[nn.Module, tuple[int, Tensor]] = {}  # the last rows that a convolution sees, and which is last
        self.kernels: dict[ShiftedConv, Tensor] = {}

    def _rows(self, conv: ShiftedConv, like: Tensor, width: int, level: int) -> Tensor:
        """[n, channels, rows, left + width + right], moved on if the row is new."""
        row = self.row >> level
        if conv not in self.held:
            empty = like.new_zeros(len(like), like.shape[1], conv.rows, conv.left + width + conv.right)
            self.held[conv], self.kernels[conv] = (row, empty), conv.kernel()
        last, values = self.held[conv]
        if row != last:
            values = torch.cat([values[:, :, 1:], torch.zeros_like(values[:, :, :1])], dim=2)
            self.held[conv] = (row, values)
        return values

    def through(self, conv: ShiftedConv, h: Tensor, level: int = 0) -> Tensor:
        values = self._rows(conv, h, h.shape[3], level)
        values[:, :, -1, conv.left : conv.left + h.shape[3]] = h[:, :, 0]
        return conv2d(values, self.kernels[conv], conv.bias, stride=conv.stride)

    def halve(self, conv: ShiftedConv, h: Tensor, level: int) -> Tensor | None:
        low = self.through(conv, h, level)
        return None if (self.row >> level) % 2 else low

    def double(self, conv: nn.ConvTranspose2d, low: Tensor | None, level: int, sides: tuple[int, int]) -> Tensor:
        if low is not None:
            self.held[conv] = (self.row >> level, conv(low)[..., : sides[1]])
        odd = (self.row >> level) % 2
        return self.held[conv][1][:, :, odd : odd + 1]


class NewPixel(NewRow):
    """Looks at one pixel [n, channels, 1, 1] after the other: `row` and `column` are set before each.

    width: of the map at level 0.
    """

    def __init__(self, width: int):
        super().__init__()
        self.column, self.width = 0, width

    def put(self, conv: ShiftedConv, h: Tensor, level: int = 0) -> Tensor:
        """What the convolution sees there, with h put in its place."""
        column = self.column >> level
        values = self._rows(conv, h, math.ceil(self.width / 2**level), level)
        values[:, :, -1, column + conv.left] = h[:, :, 0, 0]
        return values[..., column : column + conv.columns]

    def through(self, conv: ShiftedConv, h: Tensor, level: int = 0) -> Tensor:
        return conv2d(self.put(conv, h, level), self.kernels[conv], conv.bias)

    def halve(self, conv: ShiftedConv, h: Tensor, level: int) -> Tensor | None:
        window = self.put(conv, h, level)
        if (self.row >> level) % 2 or (self.column >> level) % 2:
            return None
        return conv2d(window, self.kernels[conv], conv.bias)

    def double(self, conv: nn.ConvTranspose2d, low: Tensor | None, level: int, sides: tuple[int, int]) -> Tensor:
        row, column = (self.row >> level) % 2, self.column >> level
        if low is not None:
            block = conv(low)  # [n, channels, 2, 2]
            if conv not in self.held:
                breadth = 2 * math.ceil(self.width / 2 ** (level + 1))
                self.held[conv] = (0, block.new_zeros(*block.shape[:3], breadth))
            self.held[conv][1][..., column : column + 2] = block
        return self.held[conv][1][:, :, row : row + 1, column : column + 1]

    def here(self, rows: Tensor, level: int = 0) -> Tensor:
        column = self.column >> level
        return rows[..., column : column + 1]
