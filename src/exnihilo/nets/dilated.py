"""WaveNet: dilated causal convolutions with gates, residuals and skips, and the queues that make it quick to draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import relu

from exnihilo.nets.sequence import Leave, Memory, StepNetwork


class DilatedLayer(nn.Module):
    """z = tanh(W_f * x + V_f h) . sigmoid(W_g * x + V_g h);  x + W_r z goes on, W_s z goes out.

    van den Oord et al., 2016, arXiv:1609.03499, Eq. 2 and 3, Figure 4. W * x = W_1 x_{t - dilation} + W_2 x_t, zeros
    before the first step. Features are [T, B, width], time first: what is shifted in time is one piece of memory.
    """

    def __init__(self, width: int, skip: int, dilation: int, vector: int):
        super().__init__()
        self.dilation = dilation
        self.see = nn.Linear(2 * width, 2 * width)
        self.tell = nn.Linear(vector, 2 * width, bias=False) if vector else None
        self.go_on, self.go_out = nn.Linear(width, width), nn.Linear(width, skip)

    def told(self, vector: Tensor | None) -> Tensor | float:
        """[B, 2 * width] what the vector adds inside the gate, or 0."""
        return 0.0 if self.tell is None or vector is None else self.tell(vector)

    def forward(self, x: Tensor, vector: Tensor | None) -> tuple[Tensor, Tensor]:
        before = torch.cat([torch.zeros_like(x[: self.dilation]), x[: -self.dilation]])
        return self.gated(before, x, self.told(vector))

    def gated(self, before: Tensor, x: Tensor, told: Tensor | float) -> tuple[Tensor, Tensor]:
        """What goes on [..., width] and what goes out [..., skip], from x and what entered `dilation` steps before."""
        value, door = (self.see(torch.cat([before, x], dim=-1)) + told).chunk(2, dim=-1)
        z = value.tanh() * door.sigmoid()
        return x + self.go_on(z), self.go_out(z)


def dilations(stacks: int, depth: int, window: int) -> list[int]:
    """1, 2, 4, ... 2^(depth - 1), `stacks` times over; without those that would look past the beginning always."""
    return [2**k for k in range(depth) if 2**k < window] * stacks


class WaveNet(StepNetwork):
    """Dilated layers one after the other; what goes out of them is summed, relu, linear, relu, and leaves.

    A step sees `field` = 1 + sum of the dilations steps before it.
    """

    def __init__(
        self,
        shape: Sequence[int],
        enter: nn.Module,
        per_entry: int,
        *,
        width: int,
        skip: int,
        dilations: Sequence[int],
        vector: int = 0,
    ):
        super().__init__(shape, enter, width, Leave(skip, shape[0], per_entry))
        self.stack = nn.ModuleList([DilatedLayer(width, skip, dilation, vector) for dilation in dilations])
        self.mix = nn.Linear(skip, skip)
        self.field = 1 + sum(dilations)

    @property
    def layers(self) -> list[DilatedLayer]:
        """The dilated layers, first to last."""
        return cast("list[DilatedLayer]", list(self.stack))

    def features(self, h: Tensor, vector: Tensor | None) -> Tensor:
        return self.seen(h, vector)[0]

    def seen(self, h: Tensor, vector: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """[B, T, skip], and what entered every layer, [T, B, width]."""
        h, out, entered = h.transpose(0, 1).contiguous(), torch.zeros(()).to(h), []
        for layer in self.layers:
            entered.append(h)
            h, skip = layer(h, vector)
            out = out + skip
        return self.leaving(out).transpose(0, 1), entered

    def leaving(self, out: Tensor) -> Tensor:
        """From the sum of the skips to the features."""
        return relu(self.mix(relu(out)))

    def memory(self, n: int, vector: Tensor | None) -> Memory:
        return Queues(self, n, vector)


class Queues(Memory):
    """For every layer what entered it at the last `dilation` steps: a step costs the layers, whatever the field.

    Le Paine et al., 2016, arXiv:1611.09482.
    """

    def __init__(self, network: WaveNet, n: int, vector: Tensor | None):
        self.network, self.seen = network, 0
        self.told = [layer.told(vector) for layer in network.layers]
        self.vector = vector
        empty = network.first.new_zeros(1, n, len(network.first))
        self.queues = [empty.repeat(layer.dilation, 1, 1) for layer in network.layers]  # slot t modulo the dilation

    def step(self, h: Tensor) -> Tensor:
        out = h.new_zeros(())
        for layer, queue, told in zip(self.network.layers, self.queues, self.told, strict=True):
            slot = self.seen % len(queue)
            on, skip = layer.gated(queue[slot], h, told)
            queue[slot] = h
            h, out = on, out + skip
        self.seen += 1
        return self.network.leaving(out)

    def read(self, h: Tensor) -> None:
        self.seen = h.shape[1]
        for queue, entered in zip(self.queues, self.network.seen(h, self.vector)[1], strict=True):
            last = entered[-len(queue) :]
            slots = torch.arange(self.seen - len(last), self.seen, device=h.device) % len(queue)
            queue[slots] = last

    def spread(self, rows: Tensor) -> None:
        self.vector = None if self.vector is None else self.vector[rows]
        self.told = [told[rows] if isinstance(told, Tensor) else told for told in self.told]
        self.queues = [queue[:, rows] for queue in self.queues]
