"""Pictures from coarse to fine: the Laplacian pyramid, and a game at each of its levels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from exnihilo.core import NOTHING, Batch, Conditions, Data, DataError, ModelError, Noise, Stage, listing
from exnihilo.models.gans.family import GAN
from exnihilo.models.gans.games import Games

KERNEL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)  # binomial; of Burt & Adelson, 1983, with a = 3/8


def smooth(x: Tensor) -> Tensor:
    """x [B, C, H, W] convolved with the kernel along both sides, reflected at its borders."""
    kernel = torch.tensor(KERNEL, dtype=x.dtype).to(x.device, non_blocking=True)
    planes = F.pad(x.flatten(0, 1).unsqueeze(1), (2, 2, 2, 2), mode="reflect")  # [B C, 1, H + 4, W + 4]
    return F.conv2d(F.conv2d(planes, kernel.view(1, 1, 5, 1)), kernel.view(1, 1, 1, 5)).view_as(x)


def halve(x: Tensor) -> Tensor:
    """d(x): smoothed, and every second row and column kept, from the first; sides are rounded up."""
    return smooth(x)[..., ::2, ::2].contiguous()


def double(x: Tensor, side: Sequence[int]) -> Tensor:
    """u(x): its pixels on every second row and column of a picture of this side, smoothed with twice the kernel."""
    wide = x.new_zeros(*x.shape[:2], *side)
    wide[..., ::2, ::2] = 4 * x  # twice along each side
    return smooth(wide)


def bands(x: Tensor, levels: int) -> list[Tensor]:
    """The Laplacian pyramid of x: h_k = I_k - u(I_{k+1}) for k < levels, and the coarsest picture I_levels."""
    parts = []
    for _ in range(levels):
        coarse = halve(x)
        parts.append(x - double(coarse, x.shape[2:]))
        x = coarse
    return [*parts, x]


def collapse(parts: Sequence[Tensor]) -> Tensor:
    """The picture of a Laplacian pyramid: I_k = h_k + u(I_{k+1}); undoes `bands` up to rounding."""
    x = parts[-1]
    for band in reversed(parts[:-1]):
        x = band + double(x, band.shape[2:])
    return x


def sides(side: tuple[int, int], levels: int | None = None) -> list[tuple[int, int]]:
    """Of the pictures of a pyramid, finest first: 28, 14, 7. Without `levels` down to a shorter side of at most 8,
    but at least once. A ModelError where a picture has no further half: the kernel reaches over two pixels.
    """
    found = [side]
    while len(found) - 1 < levels if levels is not None else (len(found) == 1 or min(found[-1]) > 8):
        height, width = found[-1]
        if min(height, width) < 3:
            needed = 2 ** ((levels or 1) - 1) * 2 + 1
            raise ModelError(
                f"A picture of {side[0]} x {side[1]} cannot be halved {levels or 1} times: {height} x {width} has no"
                f" half. Sides of {needed} or more can"
                + (f", and this one {len(found) - 1} times: levels={len(found) - 1}." if len(found) > 1 else ".")
            )
        found.append(((height + 1) // 2, (width + 1) // 2))
    return found


class Refiner(nn.Module):
    """(z, asked for what lies over the low-pass `given`) -> the band h, by layers [B, C + 1, H, W] -> [B, C, H, W].

    z [B, H W] is one more plane beside the low-pass l [B, C, H, W] (Denton et al., 2015, Section 4.1).
    """

    def __init__(self, layers: nn.Module):
        super().__init__()
        self.layers = layers

    def forward(self, z: Tensor, asked: Batch | Conditions) -> Tensor:
        low: Tensor = asked.given  # type: ignore[assignment]
        return self.layers(torch.cat([z.view(len(z), 1, *low.shape[2:]), low], dim=1))


def keeping_side(channels: int, width: int) -> nn.Module:
    """Three convolutions [B, channels + 1, H, W] -> [B, channels, H, W] with `width` maps between (Section 4.1)."""
    return nn.Sequential(
        nn.Conv2d(channels + 1, width, 5, padding=2), nn.ReLU(),
        nn.Conv2d(width, width, 5, padding=2), nn.ReLU(),
        nn.Conv2d(width, channels, 5, padding=2),
    )  # fmt: skip


class BandCritic(nn.Module):
    """(h, the low-pass l as `given`) -> scores: a critic [B, 2 C, H, W] of the picture l + h beside l."""

    def __init__(self, critic: nn.Module):
        super().__init__()
        self.critic = critic

    def forward(self, h: Tensor, asked: Batch | Conditions) -> Tensor:
        low: Tensor = asked.given  # type: ignore[assignment]
        return self.critic(torch.cat([low + h, low], dim=1))


class LAPGAN(Games):
    """I_K = G_K(z_K),  I_k = u(I_{k+1}) + G_k(z_k, u(I_{k+1})):  a band by band refinement of a coarse picture.

    Denton et al., 2015, arXiv:1506.05751, Eq. 4. games: from the finest level to the coarsest; all but the last are
    conditional on `given`, the low-pass picture. Every game is a stage of its own and is played on true pictures: h_k
    given u(I_{k+1}) of the data, so that no level knows of the others. With `given` in sampling, pictures as large as
    any but the finest level, it refines these. Caution: errors of a coarse picture are not mended by finer levels.
    """

    takes = frozenset({"given"})

    def __init__(self, games: Iterable[GAN]):
        super().__init__(games)
        self.levels = len(self.games) - 1

    def stages(self) -> Iterator[Stage]:
        """A game at each level, in any order: the coarsest first, and half as long as the others, of bands."""
        for level in reversed(range(len(self.games))):
            game = self.games[level]
            side = " x ".join(map(str, game.spec.shape[1:]))
            yield Stage(side, game.players, share=1 + (level < self.levels), view=partial(self._seen_at, level))

    def _seen_at(self, level: int, data: Data) -> Data:
        return data.map(partial(self.band, level))

    def band(self, level: int, batch: Batch) -> Batch:
        """What the game of a level is played on: h_k and, as given, u(I_{k+1}); the coarsest picture at the last."""
        x = batch.x
        for _ in range(level):
            x = halve(x)
        if level == self.levels:
            return batch.replace(x=x)
        low = double(halve(x), x.shape[2:])
        return batch.replace(x=x - low, given=low)

    # -- what it can do ------------------------------------------------------------------------------------------

    def decode(self, z: Tensor, *, given: Tensor | None = None) -> Tensor:
        """The picture [B, C, H, W] of latents [B, width], which hold those of the coarsest level first.

        given: [B, C, h, w] coarse pictures to refine, for which the latents of their level and below are not read.
        """
        parts = z.split([game.latent.width for game in reversed(self.games)], dim=1)[::-1]
        if given is None:
            x, start = self.games[-1].decode(parts[-1]), self.levels
        else:
            x, start = given, self._level_of(given)
        for level in reversed(range(start)):
            low = double(x, self.games[level].spec.shape[1:])
            x = low + self.games[level].decode(parts[level], given=low)
        return x

    def _level_of(self, given: Tensor) -> int:
        shapes = [game.spec.shape for game in self.games[1:]]
        if tuple(given.shape[1:]) not in shapes:
            raise DataError(
                f"Pictures of shape {tuple(given.shape[1:])} are no level of this pyramid; it refines those of"
                f" {listing(shapes)}."
            )
        return shapes.index(tuple(given.shape[1:])) + 1

    def draw_code(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """[len(noise), width] of all levels, the coarsest first."""
        return torch.cat([game.draw_code(noise) for game in reversed(self.games)], dim=1)

    def draw(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """From the coarsest level up, or from the coarse pictures that are given."""
        return self.decode(self.draw_code(noise), given=asked.given)
