"""Monotone maps of single numbers: what couplings and autoregressive flows do to each entry they change."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from exnihilo.probability.roots import rising_root


class ElementMap(nn.Module):
    """A monotone map of single numbers whose parameters come from elsewhere: `count` of them per number.

    Couplings and autoregressive flows are this map times the network that sets its parameters.
    """

    count: int

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, n, ...], parameters [B or 1, count, n, ...] -> (y shaped as x, log dy/dx that broadcasts to it)."""
        raise NotImplementedError

    def inverse(self, y: Tensor, parameters: Tensor) -> Tensor:
        """The x with forward(x, parameters)[0] == y."""
        raise NotImplementedError


def mild(raw: Tensor, bound: float) -> Tensor:
    """raw / (1 + |raw| / bound): like raw near 0, never beyond the bound; a quarter of the time of a tanh."""
    return raw / torch.add(1, raw.abs(), alpha=1 / bound)


class Affine(ElementMap):
    """y = x exp(s) + t with s = `mild`(raw), parameters (raw, t).

    Dinh et al., 2017, arXiv:1605.08803, Eq. 7; the bound (there tanh with a learned factor, Section 4.1) is what keeps
    a single extreme example from sending exp(s) to infinity.
    """

    count = 2

    def __init__(self, bound: float = 3.0):
        super().__init__()
        self.bound = bound

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = parameters.unbind(1)
        log_slope = mild(raw, self.bound)
        return torch.addcmul(shift, x, log_slope.exp()), log_slope

    def inverse(self, y: Tensor, parameters: Tensor) -> Tensor:
        raw, shift = parameters.unbind(1)
        return (y - shift) * mild(raw, self.bound).neg().exp()


class Additive(ElementMap):
    """y = x + t, parameters (t): volumes stay. Dinh et al., 2015, arXiv:1410.8516, Eq. 8."""

    count = 1

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return x + parameters[:, 0], torch.zeros_like(x)

    def inverse(self, y: Tensor, parameters: Tensor) -> Tensor:
        return y - parameters[:, 0]


class Shrink(ElementMap):
    """y = g (x + t) with g = sigmoid(raw + open), parameters (raw, t).

    Kingma & Dhariwal, 2018, arXiv:1807.03039, Table 1 and its code, where open = 2: no slope exceeds 1, and the first
    ones are 0.88. Caution: the inverse has no bound on its slope; log_slope is held above -7 to give it one.
    """

    count = 2

    def __init__(self, open: float = 2.0):
        super().__init__()
        self.open = open

    def _log_slope(self, raw: Tensor) -> Tensor:
        return logsigmoid((raw + self.open).clamp(min=-7.0))

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = parameters.unbind(1)
        log_slope = self._log_slope(raw)
        return (x + shift) * log_slope.exp(), log_slope

    def inverse(self, y: Tensor, parameters: Tensor) -> Tensor:
        raw, shift = parameters.unbind(1)
        return y * self._log_slope(raw).neg().exp() - shift


class InTurn(ElementMap):
    """y = second(first(x)); parameters: those of the first, then those of the second."""

    def __init__(self, first: ElementMap, second: ElementMap):
        super().__init__()
        self.first, self.second = first, second
        self.count = first.count + second.count

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return parameters[:, : self.first.count], parameters[:, self.first.count :]

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        one, two = self._split(parameters)
        x, log_slope = self.first(x, one)
        y, log_rise = self.second(x, two)
        return y, log_slope + log_rise

    def inverse(self, y: Tensor, parameters: Tensor) -> Tensor:
        one, two = self._split(parameters)
        return self.first.inverse(self.second.inverse(y, two), one)


class LogisticMixture(ElementMap):
    """y = logit(F(x)) exp(a) + b, F = sum_k w_k sigmoid((x - m_k) / s_k) the distribution function of a mixture.

    Ho et al., 2019, arXiv:1902.00275, Eq. 11-13; parameters (a, b, K logits, K locations, K log-scales). Log-scales
    and a stay within +-3, and locations start from learned places, so that equal parameters do not stay equal. Far
    out y goes on in straight lines. The inverse is found by bisection.
    """

    def __init__(self, components: int = 4, bound: float = 3.0):
        super().__init__()
        self.components, self.bound, self.count = components, bound, 3 * components + 2
        middle = (components - 1) / 2
        self.places = nn.Parameter((torch.arange(components) - middle) / max(1.0, middle))

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """(a, b) [B, n, ...], and log w, m, log s [B, K, n, ...]."""
        stretch, shift = parameters[:, 0], parameters[:, 1]
        logits, locations, log_scales = parameters[:, 2:].chunk(3, dim=1)
        places = self.places.view(-1, *[1] * (parameters.ndim - 2))
        log_scales = mild(log_scales, self.bound)
        return mild(stretch, self.bound), shift, logits.log_softmax(dim=1), locations + places, log_scales

    @staticmethod
    def _logit(x: Tensor, log_weights: Tensor, locations: Tensor, log_scales: Tensor) -> tuple[Tensor, Tensor]:
        """logit F(x) and the logarithm of its slope: F' / (F (1 - F)), all by their logarithms."""
        place = (x[:, None] - locations) * torch.exp(-log_scales)
        below, above = logsigmoid(place), logsigmoid(-place)
        log_below = (log_weights + below).logsumexp(dim=1)
        log_above = (log_weights + above).logsumexp(dim=1)
        log_density = (log_weights + below + above - log_scales).logsumexp(dim=1)
        return log_below - log_above, log_density - log_below - log_above

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        stretch, shift, *mixture = self._split(parameters)
        logit, log_slope = self._logit(x, *mixture)
        return torch.addcmul(shift, logit, stretch.exp()), log_slope + stretch

    def inverse(self, y: Tensor, parameters: Tensor) -> Tensor:
        stretch, shift, log_weights, locations, log_scales = self._split(parameters)
        logit = (y - shift) * torch.exp(-stretch)
        each = locations + logit[:, None] * log_scales.exp()  # where every component alone would have this logit

        def value_and_slope(x: Tensor) -> tuple[Tensor, Tensor]:
            value, log_slope = self._logit(x, log_weights, locations, log_scales)
            return value, log_slope.exp()

        return rising_root(value_and_slope, logit, each.amin(dim=1), each.amax(dim=1))
