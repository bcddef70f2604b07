"""A generator's last layer: any numbers -> values that the data can take."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from exnihilo.core import Column, DataSpec


def output(data: DataSpec) -> nn.Module:
    """tanh for images, sigmoid for vectors of levels in [0, 1], each column its own for tables, else nothing."""
    if data.kind == "image":
        return nn.Tanh()
    if data.kind == "table":
        return TableOutput(data.columns)
    return nn.Sigmoid() if data.levels else nn.Identity()


class TableOutput(nn.Module):
    """[B, D] -> [B, D]: numbers as they are, their flags of missing values by sigmoid, categories by softmax."""

    def __init__(self, columns: Sequence[Column]):
        super().__init__()
        self.columns = tuple(columns)

    def forward(self, h: Tensor) -> Tensor:
        parts = []
        for column in self.columns:
            part = h[:, column.slice]
            if column.kind == "category":
                parts.append(part.softmax(dim=1))
            else:
                parts += [part[:, :1], part[:, 1:].sigmoid()]  # the second is empty without missing values
        return torch.cat(parts, dim=1)
