"""Sequences of tokens: prompts are continued, and probabilities sharpened."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from exnihilo.core import NOTHING, Conditions, DataError, Noise
from exnihilo.models.autoregressive.sequences import Sequences


def sharpen(logits: Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Logits [..., V] for choosing: divided by the temperature; then all but the top k, and of these top p, at -inf.

    temperature 0: the likeliest alone. top_k 0: all; ties at the k-th stay. top_p: the likeliest tokens until their
    probabilities reach p, the one that reaches it included (nucleus sampling, Holtzman et al., 2020, arXiv:1904.09751,
    Eq. 2 and 3).
    """
    if temperature == 0:
        top_k = 1
    else:
        logits = logits / temperature
    if 0 < top_k < logits.shape[-1]:
        least = logits.topk(top_k).values[..., -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    if top_p < 1:
        ordered, places = logits.sort(dim=-1, descending=True)
        p = ordered.softmax(dim=-1)
        dropped = p.cumsum(dim=-1) - p >= top_p  # those before it are enough
        dropped[..., 0] = False
        logits = logits.masked_fill(torch.zeros_like(dropped).scatter(-1, places, dropped), -torch.inf)
    return logits


class TokenSequences(Sequences):
    """The same over tokens or levels, a free probability for each: `log_prob` is a log-probability, there is no score.

    Samples of text go on from a prompt: `sample(n, text=ids)`, ids [n, P] of `spec.tokenize`; rows of different length
    are filled up with -1.
    """

    mass = True
    takes = frozenset({"text"})

    def draw(
        self,
        noise: Noise,
        asked: Conditions = NOTHING,
        *,
        temperature: Annotated[float, 0.0, 100.0] = 1.0,
        top_k: Annotated[int, 0, 1_000_000] = 0,
        top_p: Annotated[float, 0.0, 1.0] = 1.0,
    ) -> Tensor:
        """Token after token, after the prompt if there is one; see `sharpen`.

        Of a prompt that leaves less than a quarter of the window to go on in, the last tokens are kept.
        """

        def choose(parameters: Tensor, stream: Noise) -> Tensor:
            return self.likelihood.draw(sharpen(parameters, temperature, top_k, top_p), stream)

        if asked.text is None:
            return self._drawn(noise, asked.label, choose)
        x, mask = self._begun(asked.text)
        return self._complete(noise, self._vector(len(noise), asked.label), x, mask, choose)

    def _begun(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """The window [n, T] that begins with the prompts [n, P], and where they stand in it."""
        if self.spec.kind != "text":
            raise DataError(f"{self.spec.kind} data cannot be continued from a text. Leave text out.")
        if text.is_floating_point() or text.ndim != 2 or bool((text >= self.spec.levels).any()):
            raise DataError(f"A prompt is ids 0 to {self.spec.levels - 1}, whole numbers [n, P], as `tokenize` gives.")
        window = self.network.shape[0]
        most = window - max(1, window // 4)
        x = torch.zeros(len(text), window, dtype=torch.int64, device=text.device)
        mask = torch.zeros_like(x, dtype=torch.bool)
        for row, ids in enumerate(text):
            kept = ids[ids >= 0][-most:]
            x[row, : len(kept)], mask[row, : len(kept)] = kept, True
        return x, mask
