"""Autoencoders without a density: principal subspaces, layers, restored noise, few units, small derivatives."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.linalg import subspace_angles
from torch import Tensor, nn

import exnihilo.models  # noqa: F401
from exnihilo.core import Batch, DataSpec, GenerativeModel, Noise, OptionError, Unsupported, create, seeded
from exnihilo.data import load_data
from exnihilo.data.dataset import Dataset
from exnihilo.models.autoencoders.corruptions import GaussianNoise, Masking, SaltAndPepper
from exnihilo.models.autoencoders.denoising import DenoisingAutoencoder
from exnihilo.models.autoencoders.penalties import (
    Contraction,
    KeepLargest,
    SigmoidContraction,
    Sparsity,
    squared_jacobian,
)
from exnihilo.models.autoencoders.stacked import StackedAutoencoder
from exnihilo.probability.chains import TorchChance
from exnihilo.probability.likelihoods import Gaussian, SquaredError
from exnihilo.training import Budget, Trainer, train

torch.set_num_threads(1)

DIGITS = load_data("digits")
NAMES = (
    "linear_autoencoder",
    "stacked_autoencoder",
    "denoising_autoencoder",
    "sparse_autoencoder",
    "contractive_autoencoder",
)


def learn(name: str, data: Dataset, steps: int, batch: int | None = None, **options: object) -> GenerativeModel:
    model = create(name, data, seed=0, **options)
    train(model, data, steps=steps, threads=1, progress=False, batch=batch)
    return model


def error(model: GenerativeModel, data: Dataset = DIGITS) -> float:
    """Mean squared error of an entry of the test split, of pictures in units of [0, 1]."""
    x = data.split("test").first().x
    return (model.reconstruct(x) - x).square().mean().item() / (4 if data.spec.kind == "image" else 1)


# -- the linear one --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tied", [False, True])
def test_the_linear_autoencoder_finds_the_principal_subspace(tied):
    model = learn("linear_autoencoder", DIGITS, 500, latent=8, tied=tied)
    pca = create("pca", DIGITS, latent=8)
    train(pca, DIGITS, steps=1, threads=1, progress=False)
    basis = pca.components.T.numpy()
    assert subspace_angles(model.decoder.weight.detach().double().numpy().T, basis).max() < 1e-3
    assert error(model) == pytest.approx(error(pca), rel=1e-4)
    x = DIGITS.split("train").first().x
    flat = x.flatten(1).double()
    trailing = torch.linalg.eigvalsh((flat - flat.mean(dim=0)).T @ (flat - flat.mean(dim=0)))[:-8].sum()
    loss = (model.reconstruct(x) - x).square().sum().item()
    assert loss == pytest.approx(float(trailing), rel=1e-4)
    assert (model.encoder.weight is model.decoder.weight) == tied
    if tied:
        identity = model.encoder.weight @ model.encoder.weight.T
        torch.testing.assert_close(identity, torch.eye(8), atol=1e-3, rtol=0)


def test_the_linear_autoencoder_sees_all_examples_at_once_and_repeats_itself():
    first, second = (learn("linear_autoencoder", DIGITS, 3, latent=4) for _ in range(2))
    assert first.batch == len(DIGITS.split("train"))
    assert torch.equal(first.encoder.weight, second.encoder.weight)
    assert torch.equal(first.decoder.encoder.location, first.encoder.location)


# -- layer by layer --------------------------------------------------------------------------------------------------


def weights(module: nn.Module) -> list[Tensor]:
    return [weight.detach().clone() for weight in module.parameters()]


def same(left: list[Tensor], right: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("noise", [0.0, 0.25])
def test_a_layer_learns_while_those_below_and_above_rest(noise):
    model = create("stacked_autoencoder", DIGITS, seed=0, width=32, depth=2, latent=4, noise=noise)
    assert isinstance(model, StackedAutoencoder)
    trainer = Trainer(model, DIGITS, Budget(steps=12), seed=0)
    assert [stage.name for stage in trainer.stages] == ["layer 1", "layer 2", "layer 3", "together"]
    assert trainer.place.rounds == [2, 2, 2, 6]
    for level, stage in enumerate(trainer.stages[:-1]):
        trainer.place.stage, trainer.place.entered, trainer.place.round = level, False, 0
        trainer.enter(stage)
        assert int(model.level) == level
        before = [weights(part) for part in (*model.encoder, *reversed(model.decoder))]
        trainer.play_round(stage)
        after = [weights(part) for part in (*model.encoder, *reversed(model.decoder))]
        moved = [place for place in range(6) if not same(before[place], after[place])]
        assert moved == [level, 3 + level]


def test_every_stage_is_judged_by_its_own_loss():
    model = create("stacked_autoencoder", DIGITS, seed=0, width=16, latent=4)
    batch = DIGITS.split("validation").first(32)
    for level in range(3):
        model.level.fill_(level)
        torch.testing.assert_close(
            model.validate(batch)["reconstruction"], model.layer_loss(level, batch)["reconstruction"]
        )
    model.level.fill_(3)
    torch.testing.assert_close(model.validate(batch)["loss"], model.loss(batch)["reconstruction"])


def test_a_stacked_autoencoder_learns_digits_better_than_principal_components():
    """Card 19: at most .018 with eight numbers; principal components .0249."""
    model = learn("stacked_autoencoder", DIGITS, 1500, latent=8, width=128)
    assert error(model) < 0.018


# -- denoising -------------------------------------------------------------------------------------------------------


def spread(n: int = 4000) -> Dataset:
    return load_data(np.random.default_rng(0).normal(size=(n, 3)))


def linear_denoiser(variances: Tensor, sigma: float) -> tuple[DenoisingAutoencoder, Tensor]:
    """A linear one, learnt on N(0, diag variances)."""
    torch.manual_seed(0)
    model = DenoisingAutoencoder(nn.Linear(3, 3, bias=False), nn.Identity(), Gaussian(), GaussianNoise(sigma))
    model.spec = DataSpec("vector", (3,))
    optimizer = torch.optim.Adam(model.parameters(), 3e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 600)
    for _ in range(600):
        x = torch.randn(1024, 3) * variances.sqrt()
        loss = model.loss(Batch(x))["reconstruction"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval(), torch.randn(1000, 3) * variances.sqrt()


def test_a_linear_denoiser_is_wieners_filter_and_knows_the_score():
    """Card 2.5: r = S (S + sigma^2)^-1, so (r(x) - x) / sigma^2 is the score of N(0, S + sigma^2)."""
    with seeded("linear"):
        variances = torch.tensor([4.0, 1, 0.25])
        model, x = linear_denoiser(variances, 1.0)
        weight = model.encoder.weight.detach()
        torch.testing.assert_close(weight, torch.diag(torch.tensor([0.8, 0.5, 0.2])), atol=0.03, rtol=0)
        noisy = x + torch.randn_like(x)
        expected = -noisy / (variances + 1)
        assert nn.functional.cosine_similarity(model.score(noisy), expected, dim=1).mean() > 0.99
        spread_of_error = model.likelihood.variance  # E |x - r|^2 / 3 = mean of S s^2 / (S + s^2)
        torch.testing.assert_close(spread_of_error, torch.tensor([0.8, 0.5, 0.2]).mean(), atol=0.03, rtol=0)


def test_the_chain_of_the_best_denoiser_draws_the_data():
    """Where p(x | x~) is exact - here variances alike, so that one sigma suffices - the chain's law is N(0, S)."""
    model = DenoisingAutoencoder(nn.Linear(2, 2, bias=False), nn.Identity(), Gaussian(floor=0.0), GaussianNoise(0.5))
    model.spec = DataSpec("vector", (2,))
    with torch.no_grad():
        model.encoder.weight.copy_(torch.eye(2) * 0.64 / (0.64 + 0.25))
        model.likelihood.log_sigma.fill_(0.5 * math.log(0.64 * 0.25 / (0.64 + 0.25)))
    x = model.eval().sample(20_000, seed=0, steps=30, mode="draw")
    torch.testing.assert_close(x.T.cov(), 0.64 * torch.eye(2), atol=0.03, rtol=0)
    mean = model.sample(20_000, seed=0, steps=30, mode="mean")
    assert mean.var() < 0.9 * x.var()
    mask = torch.tensor([True, False]).expand(20_000, -1)
    filled = model.impute(torch.full((20_000, 2), 1.0), mask)
    assert (filled[:, 0] == 1).all()
    assert float(filled[:, 1].var()) == pytest.approx(0.64, abs=0.03)
    assert abs(float(filled[:, 1].mean())) < 0.03


def test_a_denoiser_restores_digits_better_than_their_principal_components():
    """Card 19: digits with noise of 0.3 in units of [0, 1]."""
    model = learn("denoising_autoencoder", DIGITS, 1000, sigma=0.6, width=128, latent=64)
    pca = create("pca", DIGITS, latent=16)
    train(pca, DIGITS, steps=1, threads=1, progress=False)
    x = DIGITS.split("test").first().x
    noisy = x + 0.6 * Noise(0, len(x)).like(x)
    restored = (model.reconstruct(noisy) - x).square().mean().item()
    assert restored < 0.8 * (pca.reconstruct(noisy) - x).square().mean().item()
    assert restored < 0.3 * (noisy - x).square().mean().item()
    better = model.score(noisy).flatten(1) * (x - noisy).flatten(1)
    assert (better.sum(dim=1) > 0).all()  # the score points back


def test_corruptions_do_what_they_say():
    x = torch.full((200, 50), 0.3)
    with seeded("corrupt"):
        masked = Masking(0.25, -1.0)(x, TorchChance())
        salted = SaltAndPepper(0.4, -1.0)(x, TorchChance())
        noisy = GaussianNoise(2.0)(x, TorchChance())
    assert set(masked.unique().tolist()) == {-1.0, x[0, 0].item()}
    assert float((masked == -1).float().mean()) == pytest.approx(0.25, abs=0.02)
    assert set(salted.unique().tolist()) == {-1.0, x[0, 0].item(), 1.0}
    for extreme in (-1, 1):
        assert float((salted == extreme).float().mean()) == pytest.approx(0.2, abs=0.02)
    assert float(noisy.std()) == pytest.approx(2, abs=0.05)


def test_only_gaussian_noise_gives_a_score():
    assert "score" in create("denoising_autoencoder", DIGITS, width=8).capabilities
    masking = create("denoising_autoencoder", DIGITS, width=8, corruption="masking")
    assert masking.corruption == Masking(0.25, -1.0)
    assert "score" not in masking.capabilities
    with pytest.raises(Unsupported, match="denoising_autoencoder cannot score"):
        masking.score(DIGITS.first(2).x)
    assert masking.sample(2, seed=0, steps=2).isfinite().all()
    mass = np.where(np.arange(100) % 3 == 0, np.nan, np.arange(100) / 7)
    gappy = load_data(pd.DataFrame({"colour": ["red", "blue"] * 50, "mass": mass}))
    assert "score" not in create("denoising_autoencoder", gappy, width=8).capabilities
    with pytest.raises(OptionError, match="these data have none"):
        create("denoising_autoencoder", spread(200), corruption="salt_pepper")


# -- few units -------------------------------------------------------------------------------------------------------


def test_sparsity_golden_value_and_gradient():
    """Card G8: KL(.05 || .2) = .09394303; gradient (-rho / r + (1 - rho) / (1 - r)) / B."""
    code = torch.full((10, 3), 0.2, dtype=torch.float64, requires_grad=True)
    value = Sparsity(0.05, 2.0)(nn.Identity(), code, code)
    assert value.item() == pytest.approx(2 * 3 * 0.09394303, abs=1e-7)
    value.backward()
    expected = 2 * (-0.05 / 0.2 + 0.95 / 0.8) / 10
    torch.testing.assert_close(code.grad, torch.full_like(code, expected))


def test_sparse_units_are_seldom_active():
    """Card 19: activity .05 +- .02 with a mean squared error below .02."""
    model = learn("sparse_autoencoder", DIGITS, 500, rate=1e-2)
    code = model.encode(DIGITS.split("test").first().x)
    assert code.shape[1] == 100
    assert code.mean().item() == pytest.approx(0.05, abs=0.02)
    assert error(model) < 0.02
    assert next(iter(model.players())).coupled


def test_a_k_sparse_code_has_k_numbers():
    model = learn("sparse_autoencoder", DIGITS, 50, keep=7)
    code = model.encode(DIGITS.split("test").first().x)
    assert (code != 0).sum(dim=1).eq(7).all()
    z = torch.tensor([[3.0, -5.0, 1.0, 2.0]], requires_grad=True)
    kept = KeepLargest(2)(z)
    assert kept.tolist() == [[3.0, 0.0, 0.0, 2.0]]
    (kept * torch.arange(4)).sum().backward()
    assert z.grad.tolist() == [[0.0, 0.0, 0.0, 3.0]]
    with pytest.raises(OptionError, match="keep=101 of latent=100 is not allowed"):
        create("sparse_autoencoder", DIGITS, keep=101)


# -- small derivatives -----------------------------------------------------------------------------------------------


def test_contraction_golden_value():
    """Card G17: |J|_F^2 = .14084704, in closed form, by all rows and on average over random directions."""
    layer = nn.Linear(2, 3).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1, -0.5], [0.3, 0.8], [-0.7, 0.1]]))
        layer.bias.zero_()
    encoder = nn.Sequential(layer, nn.Sigmoid())
    x = torch.tensor([[0.2, 0.9]], dtype=torch.float64)
    closed = SigmoidContraction(layer, 1.0)(encoder, x, encoder(x))
    assert closed.item() == pytest.approx(0.14084704, abs=1e-8)
    torch.testing.assert_close(Contraction(1.0)(encoder, x, encoder(x)), closed, atol=1e-12, rtol=0)
    with seeded("probes"):
        estimates = squared_jacobian(encoder, x.expand(4000, -1), probes=2)
    assert estimates.mean().item() == pytest.approx(closed.item(), abs=4 * estimates.std().item() / math.sqrt(4000))
    with torch.no_grad():  # as in validation
        assert Contraction(1.0)(encoder, x, encoder(x)).item() == pytest.approx(closed.item(), abs=1e-12)


def test_the_penalty_of_a_deep_encoder_is_its_jacobians_norm():
    model = create("contractive_autoencoder", DIGITS, depth=2, width=16, latent=5, probes=0)
    assert not model.compilable
    x = DIGITS.first(1).x
    jacobian = torch.autograd.functional.jacobian(model.encoder, x).reshape(5, 64)
    torch.testing.assert_close(squared_jacobian(model.encoder, x)[0], jacobian.square().sum(), rtol=1e-5, atol=0)
    terms = model.loss(Batch(x))
    assert terms["contraction"].requires_grad
    terms["contraction"].backward()
    assert all(weight.grad is not None for weight in model.encoder[0].layers.parameters())


def norm_and_error(depth: int, weight: float) -> tuple[float, float]:
    options = {"latent": 64, "width": 64, "depth": depth, "weight": weight, "rate": 5e-3}
    model = learn("contractive_autoencoder", DIGITS, 400, **options)
    x = DIGITS.split("test").first(100).x
    return squared_jacobian(model.encoder, x).mean().sqrt().item(), error(model)


def test_a_contractive_code_moves_less_and_still_restores():
    """One tied layer: the norm falls by a fifth, the error stays below that of 16 principal components (.0122)."""
    (free, _), (contracted, lost) = norm_and_error(0, 0.0), norm_and_error(0, 1.0)
    assert contracted < 0.8 * free
    assert lost < 0.0122


def test_a_deep_contractive_code_moves_half_as_much():
    """Card 19: the norm falls by half or more at no more than 1.5 times the error of the same network."""
    (free, reachable), (contracted, lost) = norm_and_error(1, 0.0), norm_and_error(1, 0.3)
    assert contracted < free / 2
    assert lost < 1.5 * reachable


def test_what_is_left_of_a_contracted_derivative_points_along_the_data():
    """Card 2.7: on a circle in ten dimensions the first singular direction is the tangent, within 10 degrees."""
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 2 * np.pi, size=600)
    plane = np.linalg.qr(rng.normal(size=(10, 2)))[0]
    data = load_data(np.stack([np.cos(angle), np.sin(angle)], axis=1) @ plane.T + 0.01 * rng.normal(size=(600, 10)))
    scale = torch.tensor([column.scale for column in data.spec.columns])
    model = learn("contractive_autoencoder", data, 1500, latent=30, weight=0.1, rate=5e-3)
    x = data.split("test").first(20).x
    mean = torch.tensor([column.mean for column in data.spec.columns])
    place = (x * scale + mean) @ torch.from_numpy(plane).float()
    tangent = torch.stack([-place[:, 1], place[:, 0]], dim=1) @ torch.from_numpy(plane).float().T / scale
    cosines = []
    for point, direction in zip(x, tangent, strict=True):
        jacobian = torch.autograd.functional.jacobian(model.encoder, point[None]).reshape(30, 10)
        first = torch.linalg.svd(jacobian).Vh[0]
        cosines.append(abs((first @ direction / direction.norm()).item()))
    assert np.median(np.degrees(np.arccos(np.minimum(cosines, 1)))) < 10


# -- all of them -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "spec",
    [
        DataSpec("vector", (2,), examples=50),
        DataSpec("vector", (9,), levels=2, examples=50),
        DataSpec("image", (1, 9, 7), levels=4, examples=50),
        DataSpec("image", (3, 16, 16), levels=256, examples=50),
        DataSpec("series", (2, 12), examples=50),
    ],
    ids=lambda spec: f"{spec.kind}-{spec.shape}",
)
def test_every_kind_and_shape(name, spec):
    model = create(name, spec, seed=0, latent=1)
    x = torch.zeros(3, *spec.shape)
    for stage in model.stages():
        for player in stage.players():
            with seeded("loss"):
                assert all(term.isfinite() for term in player.loss(Batch(x)).values())
    assert model.encode(x).shape == (3, 1)
    assert model.reconstruct(x).shape == x.shape


def test_what_cannot_sample_says_why():
    model = create("sparse_autoencoder", DIGITS)
    with pytest.raises(Unsupported, match=r"sparse_autoencoder cannot sample.*does not say which codes occur"):
        model.sample(3)
    assert SquaredError().per_entry == 1
