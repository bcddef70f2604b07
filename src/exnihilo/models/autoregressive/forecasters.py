"""Series of numbers whose network looks back by a season."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from exnihilo.core import Data, Stage
from exnihilo.models.autoregressive.sequences import Sequences
from exnihilo.nets.lagged import Lagged, lags_of
from exnihilo.probability.seasons import find_season

LOOKED_AT = 5000  # training windows in which the season is looked for


class Forecaster(Sequences):
    """The same over numbers, told as differences to the value of a season ago.

    season: its steps; 1: there is none, and differences are to the last value; None: the period of the training data,
    found when training begins, which leaves half of a window to look back at.
    """

    network: Lagged

    def __init__(self, network: Lagged, *others: Any, season: int | None, **more: Any):
        super().__init__(network, *others, **more)
        self.season = season

    def stages(self) -> Iterable[Stage]:
        return [Stage("train", self.players, enter=self.look_back)]

    def look_back(self, data: Data) -> None:
        """Choose the lags."""
        season = self.season
        if season is None:
            season = find_season(data.first(LOOKED_AT).x.double().numpy(), self.network.shape[1] // 2) or 1
        self.network.lags.copy_(torch.tensor(lags_of(season)))
