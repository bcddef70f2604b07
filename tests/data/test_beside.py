"""What examples are conditioned on: numbers or pictures beside them, from memory or a .npz."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from exnihilo.core import DataError, DataSpec
from exnihilo.data import load_data

RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 4))
PICTURES = RNG.integers(0, 256, size=(50, 6, 5)).astype(np.uint8)


def test_a_vector_given_is_described_scaled_and_dealt_as_examples_are() -> None:
    given = 100 + 7 * RNG.normal(size=(50, 3))
    data = load_data((X, np.arange(50) % 2), given=given)
    told = data.spec.given
    assert told is not None
    assert (told.kind, told.shape) == ("vector", (3,))
    train = data.split("train").first()
    assert isinstance(train.given, torch.Tensor)
    torch.testing.assert_close(train.given.mean(dim=0), torch.zeros(3), atol=1e-5, rtol=0)
    np.testing.assert_allclose(told.decode(data.first().given), given, rtol=1e-5)
    batch = data.split("train").batch(3, 8, seed=1)
    places = data.split("train").places[batch.index]
    torch.testing.assert_close(batch.given, data.first().given[places])  # type: ignore[index]
    assert any("Given beside every example: a vector of 3" in note for note in data.notes)
    assert DataSpec.from_json(data.spec.to_json()) == data.spec


def test_a_number_or_a_picture_may_be_given() -> None:
    number = load_data(X, given=np.arange(50))
    assert number.spec.given is not None
    assert number.spec.given.shape == (1,)
    picture = load_data(X, given=PICTURES)
    assert picture.spec.given is not None
    assert (picture.spec.given.kind, picture.spec.given.shape) == ("image", (1, 6, 5))
    given = picture.first().given
    assert isinstance(given, torch.Tensor)
    torch.testing.assert_close(given[:, 0], torch.from_numpy(PICTURES).float() / 127.5 - 1)
    assert load_data(X).spec.given is None
    assert load_data(X).first().given is None


def test_what_is_given_tells_data_apart() -> None:
    one, other = load_data(X, given=PICTURES), load_data(X, given=PICTURES[::-1])
    assert len({one.fingerprint, other.fingerprint, load_data(X).fingerprint}) == 3


def test_a_npz_may_bring_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=X, given=PICTURES, temperature=np.arange(50.0))
    assert load_data(tmp_path / "a.npz").spec.given == load_data(X, given=PICTURES).spec.given
    named = load_data(tmp_path / "a.npz", given="temperature")
    assert named.spec.given is not None
    assert named.spec.given.shape == (1,)
    assert named.options["given"] == "temperature"
    assert load_data(tmp_path / "a.npz", given="none").spec.given is None
    with pytest.raises(DataError, match=r"given=temprature.*temperature"):
        load_data(tmp_path / "a.npz", given="temprature")
    x_train, x_test = X[:40], X[40:]
    np.savez(
        tmp_path / "b.npz", x_train=x_train, x_test=x_test, given_train=np.arange(40), given_test=np.arange(40, 50)
    )
    split = load_data(tmp_path / "b.npz")
    assert split.spec.given is not None
    np.testing.assert_allclose(split.spec.given.decode(split.first().given)[:, 0], np.arange(50), atol=1e-4)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros((49, 2)), "50 examples but 49 rows of what is given"),
        (np.full((50, 2), np.nan), "holds nan in row 0"),
        (np.full((50, 2), 3.0), "What is given: All entries are 3"),
        (RNG.normal(0, 100, size=(50, 3, 4)), "What is given: Pixels go from"),
    ],
)
def test_what_cannot_be_given_is_refused(given: np.ndarray, words: str) -> None:
    with pytest.raises(DataError, match=words):
        load_data(X, given=given)
