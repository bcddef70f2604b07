from __future__ import annotations

import pytest
import torch
from sklearn.manifold import trustworthiness

from exnihilo.core import DataError, Unsupported
from exnihilo.data import load_data
from exnihilo.explore import project
from tests.explore.models import Drawing, Plain


def test_principal_axes_agree_with_scikit_learn() -> None:
    from sklearn.decomposition import PCA

    data = load_data("digits")
    model = Plain(data.spec, torch.eye(64)[16:48])
    view = project(model, data, method="pca", n=200)
    batch = data.split("test").batch(0, 200, 0)
    codes = model.encode(batch.x).double()
    expected = torch.from_numpy(PCA(2, svd_solver="full").fit_transform(codes.numpy()))
    torch.testing.assert_close(view.points.abs(), expected.abs(), atol=1e-5, rtol=1e-5)
    assert view.trustworthiness == pytest.approx(trustworthiness(codes.numpy(), expected.numpy(), n_neighbors=12))
    raw = batch.x.flatten(1).double().numpy()
    assert view.code_trustworthiness == pytest.approx(trustworthiness(raw, codes.numpy(), n_neighbors=12))
    assert view.trustworthiness > view.raw_trustworthiness  # fewer numbers are lost


def test_a_code_of_two_numbers_is_its_own_map() -> None:
    data = load_data("digits")
    model = Plain(data.spec, torch.eye(64)[[20, 43]])
    view = project(model, data, n=100)
    assert view.method == "codes"
    assert view.trustworthiness == pytest.approx(1.0, abs=1e-3)  # equal codes are neighbours in any order
    assert 0.5 < view.code_trustworthiness < view.raw_trustworthiness + 0.1


def test_neighbours_of_iris_stay_neighbours_by_tsne() -> None:
    data = load_data("iris")
    model = Plain(data.spec, torch.eye(data.spec.size))
    view = project(model, data, method="tsne", split="train")
    assert view.trustworthiness > 0.9
    assert torch.equal(project(model, data, method="tsne", split="train").points, view.points)
    assert view.picture().size[0] > 1000
    assert view.facts()["n"] == len(view.points)


def test_what_cannot_be_asked() -> None:
    data = load_data("digits")
    with pytest.raises(Unsupported, match=r"drawing cannot encode.*Models that can: .*vae"):
        project(Drawing(data.spec, torch.eye(2, 64)), data)
    model = Plain(data.spec, torch.eye(64))
    with pytest.raises(DataError, match="has 20 examples; a map needs 26"):
        project(model, data, n=20)
    with pytest.raises(DataError, match="was made for image data"):
        project(model, load_data("iris"))
