"""Make the classifiers that ship with the package: `python scripts/train_extractors.py`.

Each learns from the training split of our own data layer alone, on one thread, from a fixed seed; the weights (half
precision, tens of kB) go to src/exnihilo/evaluation/weights. About half a minute.
"""

from __future__ import annotations

import hashlib

import torch

from exnihilo.data import load_data
from exnihilo.evaluation.extractors import WEIGHTS, load_network, store_network, train_network
from exnihilo.evaluation.networks import Classifier, accuracy

STEPS = {"digits": 600, "mnist5k": 600}


def main() -> None:
    """Train, store, read back, and say how good each one is."""
    torch.set_num_threads(1)
    for name, steps in STEPS.items():
        data = load_data(name)
        network, about = train_network(data, steps)
        path = WEIGHTS / f"{name}.safetensors"
        store_network(network, about, path)
        stored = load_network(path, data.spec, name).network
        assert isinstance(stored, Classifier)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
        right = accuracy(stored, data.split("test").first())
        print(f"{name}: {right:.2%} of the test split, {path.stat().st_size / 1000:.0f} kB, hash {digest}")


if __name__ == "__main__":
    main()
