"""Factors and clusters against scikit-learn, Bayes' rule and the cards' golden values; masks that fit."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.linalg import subspace_angles
from sklearn.cluster import KMeans as ReferenceKMeans
from sklearn.decomposition import PCA, FactorAnalysis

import exnihilo.models  # noqa: F401
from exnihilo.core import DataError, DataSpec, GenerativeModel, OptionError, Unsupported, create, seeded
from exnihilo.data import load_data
from exnihilo.data.dataset import Dataset
from exnihilo.models.classical import LinearGaussian
from exnihilo.models.classical.factors import principal_factors

torch.set_num_threads(1)

DIGITS = load_data("digits")


def solve(model: GenerativeModel, data: Dataset) -> GenerativeModel:
    (stage,) = model.stages()
    with seeded("solve"):
        assert stage.enter is not None
        stage.enter(data.split("train"))
    return model


def correlated(n: int = 400, size: int = 6) -> Dataset:
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(2, size)) * 2
    noise = rng.normal(size=(n, size)) * np.linspace(0.2, 1.5, size)
    return load_data(rng.normal(size=(n, 2)) @ mixing + noise + 3)


GAUSSIAN = correlated()


# -- factors ---------------------------------------------------------------------------------------------------------


def golden() -> tuple[LinearGaussian, torch.Tensor]:
    """Likelihood card G7."""
    model = LinearGaussian(3, 2, principal_factors)
    model.spec = DataSpec("vector", (3,))
    model.loadings.copy_(torch.tensor([[1, 0.2], [0.5, -0.7], [-0.3, 0.4]]).double())
    model.noise.fill_(0.3)
    model.location.copy_(torch.tensor([0.1, 0, -0.2]))
    return model, torch.tensor([[1, -0.5, 0.7]], dtype=torch.float64)


def test_factor_golden_values():
    model, x = golden()
    assert model.log_prob(x).item() == pytest.approx(-3.74472583, abs=1e-6)
    mean, factor = model.posterior(x)
    torch.testing.assert_close(mean, torch.tensor([[0.39756239, 1.00741601]]).double(), atol=1e-6, rtol=0)
    covariance = torch.tensor([[0.19152641, 0.05223447], [0.05223447, 0.31727607]]).double()
    torch.testing.assert_close(torch.cholesky_inverse(factor[0]), covariance, atol=1e-6, rtol=0)
    n = 40_000
    mask = torch.tensor([True, True, False]).expand(n, -1)
    filled = model.impute(x.expand(n, -1), mask)
    assert torch.equal(filled[:, :2], x[:, :2].expand(n, -1))
    c = model.loadings @ model.loadings.T + 0.3 * torch.eye(3)
    spread = c[2, 2] - c[2, :2] @ torch.linalg.solve(c[:2, :2], c[:2, 2])
    assert filled[:, 2].mean().item() == pytest.approx(-0.05609177, abs=4 * math.sqrt(spread / n))
    assert filled[:, 2].var().item() == pytest.approx(spread.item(), rel=0.03)


def test_ppca_equals_scikit_learn_up_to_the_divisor():
    model = solve(create("ppca", GAUSSIAN, latent=2), GAUSSIAN)
    x, test = (GAUSSIAN.split(name).first().x.double() for name in ("train", "test"))
    reference = PCA(2, svd_solver="full").fit(x.numpy())
    n = len(x)
    reference.explained_variance_ *= (n - 1) / n
    reference.noise_variance_ *= (n - 1) / n
    expected = torch.from_numpy(reference.score_samples(test.numpy()))
    torch.testing.assert_close(model.log_prob(test), expected, rtol=1e-8, atol=1e-8)
    assert model.noise.unique().numel() == 1


def test_ppca_likelihood_is_the_maximum_by_its_formula():
    """Mean log p = -1/2 (D log 2 pi + sum log lambda_K + (D - K) log s2 + D) (Tipping & Bishop, Eq. 5)."""
    model = solve(create("ppca", GAUSSIAN, latent=3), GAUSSIAN)
    x = GAUSSIAN.split("train").first().x.double()
    values = torch.linalg.eigvalsh(x.T.cov(correction=0)).flip(0)
    expected = -0.5 * (6 * math.log(2 * math.pi) + values[:3].log().sum() + 3 * values[3:].mean().log() + 6)
    assert model.log_prob(x).mean().item() == pytest.approx(expected.item(), abs=1e-6)


def test_factor_analysis_equals_scikit_learn_and_minds_no_units():
    model = solve(create("factor_analysis", GAUSSIAN, latent=2), GAUSSIAN)
    x, test = (GAUSSIAN.split(name).first().x.double() for name in ("train", "test"))
    reference = FactorAnalysis(2, tol=1e-5 * len(x), max_iter=2000, svd_method="lapack").fit(x.numpy())
    expected = torch.from_numpy(reference.score_samples(test.numpy()))
    torch.testing.assert_close(model.log_prob(test), expected, rtol=1e-6, atol=1e-6)
    codes = torch.from_numpy(reference.transform(test.numpy()))
    torch.testing.assert_close(model.encode(test), codes, rtol=1e-6, atol=1e-6)
    ppca = solve(create("ppca", GAUSSIAN, latent=2), GAUSSIAN)
    assert model.log_prob(x).mean() > ppca.log_prob(x).mean() + 0.05


def test_factor_samples_have_the_models_moments():
    model = solve(create("factor_analysis", GAUSSIAN, latent=2), GAUSSIAN)
    x = model.sample(40_000, seed=0).double()
    covariance = model.loadings @ model.loadings.T + model.noise.diag()
    torch.testing.assert_close(x.mean(dim=0), model.location, atol=0.03, rtol=0)
    torch.testing.assert_close(x.T.cov(), covariance, atol=0.04, rtol=0)


def test_factors_impute_as_the_gaussian_with_their_covariance():
    """Against the conditional of the full covariance, for a mask that differs by row."""
    model = solve(create("factor_analysis", GAUSSIAN, latent=2), GAUSSIAN)
    x = GAUSSIAN.split("test").first(3).x.double()
    mask = torch.tensor([[1, 1, 0, 1, 0, 1], [0, 0, 0, 0, 0, 1], [1, 0, 1, 1, 1, 1]]).bool()
    n = 20_000
    filled = model.impute(x.repeat_interleave(n, dim=0), mask.repeat_interleave(n, dim=0)).view(3, n, 6)
    c = model.loadings @ model.loadings.T + model.noise.diag()
    for row in range(3):
        seen, hidden = mask[row].nonzero()[:, 0], (~mask[row]).nonzero()[:, 0]
        gain = torch.linalg.solve(c[seen][:, seen], c[seen][:, hidden]).T
        mean = model.location[hidden] + gain @ (x[row, seen] - model.location[seen])
        spread = c[hidden][:, hidden] - gain @ c[seen][:, hidden]
        torch.testing.assert_close(filled[row, :, hidden].mean(dim=0), mean, atol=0.04, rtol=0)
        torch.testing.assert_close(filled[row, :, hidden].T.cov().view_as(spread), spread, atol=0.05, rtol=0.05)


def test_factor_density_integrates_to_one():
    data = load_data("moons", n=300)
    model = solve(create("ppca", data), data)  # one factor of two numbers
    assert model.loadings.shape == (2, 1)
    axis = torch.linspace(-8, 8, 400, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    total = model.log_prob(grid).exp().sum() * (axis[1] - axis[0]) ** 2
    assert total.item() == pytest.approx(1, abs=1e-2)


@pytest.mark.parametrize(("name", "latent", "bits_per_dim"), [("ppca", 16, 3.52), ("factor_analysis", 16, 3.00)])
def test_factors_on_digits(name, latent, bits_per_dim):
    """Within 4 % of the card's figures (section 9), whose split is another."""
    model = solve(create(name, DIGITS, latent=latent), DIGITS)
    with seeded("judge"):
        x, log_q = DIGITS.spec.dequantise(DIGITS.split("test").first().x)
    nats = -(model.log_prob(x) - log_q).mean().item()
    assert nats / 64 / math.log(2) == pytest.approx(bits_per_dim, rel=0.04)


@pytest.mark.parametrize("name", ["ppca", "factor_analysis", "linear_autoencoder"])
def test_a_linear_code_is_shorter_than_the_data(name):
    with pytest.raises(OptionError, match=r"latent=6 is not allowed\. An example has 6 numbers.*from 1 to 5"):
        create(name, GAUSSIAN, latent=6)
    with pytest.raises(OptionError, match="latent=0 is not allowed"):
        create(name, GAUSSIAN, latent=0)
    assert create(name, load_data("moons", n=100)).encode(torch.zeros(1, 2)).shape == (1, 1)


# -- masks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ppca", "gmm", "kde", "rbm", "denoising_autoencoder"])
def test_wrong_masks_are_refused(name):
    model, x = create(name, GAUSSIAN), GAUSSIAN.first(4).x
    with pytest.raises(DataError, match=r"mask is bool \(4, 5\); it must be bool \(4, 6\)"):
        model.impute(x, torch.ones(4, 5, dtype=torch.bool))
    with pytest.raises(DataError, match="mask is float32"):
        model.impute(x, torch.ones(4, 6))
    with pytest.raises(DataError, match="All values are missing"):
        model.impute(x, torch.zeros(4, 6, dtype=torch.bool))


# -- clusters --------------------------------------------------------------------------------------------------------


def test_kmeans_equals_scikit_learn():
    model = solve(create("kmeans", DIGITS, clusters=10), DIGITS)
    with seeded("solve"):
        state = int(torch.randint(2**31, ()))
    x, test = (DIGITS.split(name).first().x.flatten(1).double() for name in ("train", "test"))
    reference = ReferenceKMeans(10, n_init=10, random_state=state).fit(x.numpy())
    labels = torch.from_numpy(reference.predict(test.numpy())).long()
    expected = torch.from_numpy(reference.cluster_centers_)[labels]
    shaped = DIGITS.split("test").first().x.double()
    torch.testing.assert_close(model.reconstruct(shaped).flatten(1), expected, rtol=1e-8, atol=1e-8)
    error = (model.reconstruct(shaped) - shaped).square().sum(dim=(1, 2, 3)).mean().item()
    assert error == pytest.approx(-reference.score(test.numpy()) / len(test), rel=1e-6)
    assert model.cluster(shaped).bincount(minlength=10).min() > 0


def test_a_kmeans_code_is_one_hot_and_decodes_to_a_centre():
    model, x = solve(create("kmeans", GAUSSIAN, clusters=4), GAUSSIAN), GAUSSIAN.split("test").first().x
    z = model.encode(x)
    assert z.shape == (len(x), 4)
    assert torch.equal(z.sum(dim=1), torch.ones(len(x)))
    assert torch.equal(model.encode(model.decode(torch.eye(4))), torch.eye(4))
    half = model.decode(torch.tensor([[0.5, 0.5, 0, 0]]))
    torch.testing.assert_close(half, model.decode(torch.eye(4)[:2]).mean(dim=0, keepdim=True))
    with pytest.raises(Unsupported, match="kmeans cannot sample"):
        model.sample(2)


def test_linear_codes_span_the_same_subspace():
    model = solve(create("ppca", DIGITS, latent=8), DIGITS)
    pca = solve(create("pca", DIGITS, latent=8), DIGITS)
    angles = subspace_angles(model.loadings.numpy(), pca.components.T.numpy())
    assert angles.max() < 0.02  # of dequantised digits
