"""The pictures of detecting and attacking: scores and where normal ones end, residual maps, attacked examples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from exnihilo.data.render import as_bytes, column_names

if TYPE_CHECKING:
    from exnihilo.tasks.attack import Attacked
    from exnihilo.tasks.detect import Detected

SHOWN, WIDEST = 8, 12  # examples of each sort, and in a row of one sort
DOTS = 130  # an inch
INK, GREY, LINE, BLUE, RED, GREEN = "#1f2937", "#6b7280", "#9ca3af", "#2b6cb0", "#c53030", "#2f855a"


def scores_picture(detected: Detected) -> Any:
    """A PIL image: how the scores of normal and anomalous examples spread, and the threshold."""
    from matplotlib.ticker import MaxNLocator

    sorts = {"held out (normal)": (detected.rareness.held, GREY)}
    if detected.anomalous is None:
        sorts["examined"] = (detected.scores, BLUE)
    else:
        sorts |= {
            "normal": (detected.scores[~detected.anomalous], BLUE),
            "anomalous": (detected.scores[detected.anomalous], RED),
        }
    every = torch.cat([scores for scores, _ in sorts.values()])
    held = detected.rareness.held
    bounds = _span(every[every.isfinite()], held[held.isfinite()])
    threshold, rate = detected.rareness.threshold(detected.false_alarms)
    figure, axes = _axes(6.6, 3.6)
    edges = np.linspace(*bounds, 41)
    for name, (scores, colour) in sorts.items():
        inside = np.clip(scores.nan_to_num(posinf=bounds[1], neginf=bounds[0]).numpy(), *bounds)
        shares = np.histogram(inside, bins=edges)[0] / max(len(inside), 1)
        axes.stairs(shares, edges, fill=True, alpha=0.22, color=colour)
        axes.stairs(shares, edges, color=colour, linewidth=1.4, label=f"{name}, n={len(inside)}")
    if bounds[0] < threshold < bounds[1]:
        label = f"threshold for {rate:.3g} false alarms"
        axes.axvline(threshold, color=INK, linestyle=(0, (4, 3)), linewidth=1.1, label=label)
    axes.set_xlabel(
        f"anomaly score ({detected.score}); the outermost bars hold what lies beyond", fontsize=9, color=INK
    )
    axes.set_ylabel("share", fontsize=9, color=INK)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    figure.legend(fontsize=8, frameon=False, loc="outside lower center", ncols=2)
    axes.set_title(
        f"{detected.recipe}: flagged {int(detected.flagged.sum())} of {len(detected.x)}", fontsize=10, color=INK
    )
    return _image(figure)


def _span(scores: Tensor, normal: Tensor) -> tuple[float, float]:
    """Over all scores, but no further than four times as wide as normal ones spread, so that these stay visible."""
    low, high = (float(scores.min()), float(scores.max())) if len(scores) else (0.0, 1.0)
    if len(normal) > 1 and (spread := float(normal.max() - normal.min())) > 0:
        low, high = max(low, float(normal.min()) - spread), min(high, float(normal.min()) + 4 * spread)
    return low, high if high > low else low + 1.0


def residual_picture(detected: Detected) -> Any:
    """A PIL image of the most anomalous and the most normal pictures: as given, rebuilt, and where the two differ."""
    order = torch.argsort(detected.scores, descending=True, stable=True)
    count = min(SHOWN, len(order) // 2) or 1
    chosen = torch.cat([order[:count], order[len(order) - min(count, len(order) - count) :]])
    x = detected.x[chosen]
    rows = {"as given": coloured(as_bytes(detected.spec, x))}
    if detected.rebuilt is not None:
        rebuilt = detected.rebuilt[chosen]
        off = (x - rebuilt).abs().mean(dim=1) / 2  # of the range from black to white
        top = max(float(off.max()), 1e-6)
        rows["rebuilt"] = coloured(as_bytes(detected.spec, rebuilt.clamp(-1, 1)))
        rows[f"residual\npale = {top:.2f}\nof the range"] = _heat((off / top).numpy())
    notes = [detected.rareness.words(float(score)) for score in detected.scores[chosen]]
    notes = [note.replace("rarer than ", "rarer than\n") for note in notes]
    colours = [GREY] * len(notes)
    if detected.anomalous is not None:
        colours = [RED if odd else BLUE for odd in detected.anomalous[chosen].tolist()]
    legend = "" if detected.anomalous is None else " (red: anomalous, blue: normal)"
    title = f"{detected.recipe}, {detected.score}: the most anomalous, left, and the most normal, right{legend}"
    return sheet(list(rows.values()), list(rows), [[], *[[]] * (len(rows) - 2), notes], colours, title, gap_after=count)


def attack_picture(attacked: Attacked) -> Any:
    """A PIL image of attacked examples: pictures, or points of a plane with the way each was moved."""
    if attacked.spec.kind == "image":
        return _attacked_grid(attacked)
    return _attacked_points(attacked)


def _attacked_grid(attacked: Attacked) -> Any:
    """Originals, noise and what came of them; those that the attack turned come first."""
    order = torch.argsort(attacked.turned.int(), descending=True, stable=True)[:WIDEST]
    x, adverse = attacked.x[order], attacked.adverse[order]
    noise = (adverse - x) / (2 * attacked.eps)  # -1 ... 1
    names = attacked.spec.class_names
    captions, right = [], []
    for log_probs in (attacked.before[order], attacked.after[order]):
        best = log_probs.max(dim=1)
        captions.append([f"{names[c][:9]} ({p:.0%})" for c, p in zip(best.indices, best.values.exp(), strict=True)])
        right.append(best.indices == attacked.label[order])
    colours = [[GREEN if fine else RED for fine in flags.tolist()] for flags in right]
    rows = [
        coloured(as_bytes(attacked.spec, x)),
        coloured(np.round((noise.clamp(-1, 1).movedim(1, -1).numpy() + 1) * 127.5).astype(np.uint8)),
        coloured(as_bytes(attacked.spec, adverse)),
    ]
    labels = ["as given", f"noise\n× {1 / attacked.eps:.3g},\ngrey = none", "attacked"]
    title = f"{attacked.how}, at most {attacked.eps:g} of the range from black to white (green: named rightly)"
    return sheet(rows, labels, [captions[0], [], captions[1]], [colours[0], [], colours[1]], title)


def _attacked_points(attacked: Attacked) -> Any:
    spec = attacked.spec
    figure, axes = _axes(5.4, 5.2)
    raw, moved = (np.asarray(spec.decode(part))[:200] for part in (attacked.x, attacked.adverse))
    colours = [RED if turned else BLUE for turned in attacked.turned[:200].tolist()]
    axes.quiver(
        raw[:, 0], raw[:, 1], moved[:, 0] - raw[:, 0], moved[:, 1] - raw[:, 1],
        color=colours, angles="xy", scale_units="xy", scale=1, width=0.004, alpha=0.8,
    )  # fmt: skip
    axes.set_aspect("equal", adjustable="datalim")
    names = column_names(spec)
    axes.set_xlabel(names[0], fontsize=9)
    axes.set_ylabel(names[1], fontsize=9)
    axes.set_title(f"{attacked.how} (red: turned)", fontsize=10, color=INK)
    return _image(figure)


# -- figures ---------------------------------------------------------------------------------------------------------


def sheet(
    rows: Sequence[np.ndarray],
    labels: Sequence[str],
    captions: Sequence[Sequence[str]],
    colours: Sequence[Any],
    title: str,
    gap_after: int = 0,
) -> Any:
    """Rows of pictures (C, H, W, 3) with a label before each and captions below; a gap after some columns."""
    across = max(len(row) for row in rows)
    high, wide = rows[0].shape[1:3]
    cell = 0.78  # inches
    tall = cell * high / wide
    heights = [
        tall + (0.06 if not texts else 0.32 if any("\n" in text for text in texts) else 0.2) for texts in captions
    ]
    gap = 0.3 if gap_after else 0.0
    size = (1.05 + across * (cell + 0.05) + gap, 0.4 + sum(heights) + 0.08)
    figure = _figure(*size)
    figure.text(0.12 / size[0], 1 - 0.12 / size[1], title, ha="left", va="top", fontsize=9, color=INK)
    top = size[1] - 0.4
    for place, row in enumerate(rows):
        paints = colours if place == len(rows) - 1 and isinstance(colours[0], str) else colours[place]
        for column, picture in enumerate(row):
            left = 1.0 + column * (cell + 0.05) + (gap if gap_after and column >= gap_after else 0.0)
            axes = figure.add_axes((left / size[0], (top - tall) / size[1], cell / size[0], tall / size[1]))
            axes.imshow(picture, interpolation="nearest", aspect="auto")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set(color=LINE, linewidth=0.6)  # else white would run into the page
            if captions[place]:
                spot = ((left + cell / 2) / size[0], (top - tall - 0.04) / size[1])
                figure.text(*spot, captions[place][column], ha="center", va="top", fontsize=6.5, color=paints[column])
        figure.text(0.95 / size[0], (top - tall / 2) / size[1], labels[place], ha="right", va="center", fontsize=8)
        top -= heights[place]
    return _image(figure)


def coloured(pictures: np.ndarray) -> np.ndarray:
    """(N, H, W[, 1 or 3]) bytes -> (N, H, W, 3)."""
    pictures = pictures[..., None] if pictures.ndim == 3 else pictures
    return np.repeat(pictures, 3, axis=-1) if pictures.shape[-1] == 1 else pictures


def _heat(shares: np.ndarray) -> np.ndarray:
    """(N, H, W) from 0 to 1 -> colours from black to pale yellow."""
    from matplotlib import colormaps

    return np.round(colormaps["inferno"](shares)[..., :3] * 255).astype(np.uint8)


def _axes(width: float, height: float) -> tuple[Any, Any]:
    figure = _figure(width, height, plot=True)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8, colors=GREY)
    return figure, axes


def _figure(width: float, height: float, *, plot: bool = False) -> Any:
    """A figure of its own: nothing global, so threads and notebooks are safe."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DOTS, layout="constrained" if plot else None)
    FigureCanvasAgg(figure)
    return figure


def _image(figure: Any) -> Any:
    from PIL import Image

    figure.canvas.draw()
    return Image.fromarray(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())
