"""Ladders of codes: Gaussian arithmetic, exact probabilities by quadrature, warm-up and balance, singular values."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

import exnihilo.models  # noqa: F401
from exnihilo.core import Batch, DataSpec, Noise, create, seeded
from exnihilo.models.autoencoders.hierarchical import HierarchicalVAE, Step
from exnihilo.models.autoencoders.levels import ResidualLevel, precision_weighted
from exnihilo.nets.cells import DecoderCell, EncoderCell, SpectralSum
from exnihilo.probability.distributions import DiagonalNormal

torch.set_num_threads(1)
BITS = DataSpec("vector", (4,), levels=2, examples=50)
PICTURE = DataSpec("image", (1, 9, 7), levels=4, examples=50)


def lively(model: HierarchicalVAE, seed: int = 0) -> HierarchicalVAE:
    """With weights that matter, in place of those that start at zero."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.data = torch.randn_like(weight) / max(1.0, weight[0].numel()) ** 0.5
    return model.eval()


def ladder(**options: object) -> HierarchicalVAE:
    made = create("ladder_vae", BITS, **{"latent": 1, "levels": 2, "width": 12} | options)
    assert isinstance(made, HierarchicalVAE)
    return lively(made)


def residual(**options: object) -> HierarchicalVAE:
    made = create("nvae", PICTURE, **{"latent": 2, "width": 8, "depth": 2} | options)
    assert isinstance(made, HierarchicalVAE)
    return lively(made)


models = pytest.mark.parametrize("make", [ladder, residual])


def examples(model: HierarchicalVAE, n: int) -> Tensor:
    levels = torch.randint(model.spec.levels, (n, *model.spec.shape), generator=torch.Generator().manual_seed(0))
    return model.spec.from_levels(levels)


def gaussian(shape: tuple[int, ...], seed: int) -> DiagonalNormal:
    generator = torch.Generator().manual_seed(seed)
    return DiagonalNormal(
        torch.randn(shape, generator=generator).double(), torch.randn(shape, generator=generator).double()
    )


def as_torch(q: DiagonalNormal) -> Normal:
    return Normal(q.mean, torch.exp(0.5 * q.log_variance))


def test_precision_weighting_is_the_normalised_product():
    a, b = gaussian((5, 3), 0), gaussian((5, 3), 1)
    product = as_torch(precision_weighted(a, b))
    points = torch.randn(2, 5, 3).double()
    ratio = [product.log_prob(p) - as_torch(a).log_prob(p) - as_torch(b).log_prob(p) for p in points]
    torch.testing.assert_close(ratio[0], ratio[1])  # a constant, so they are the same density


def test_precision_weighting_survives_extremes():
    a = DiagonalNormal(torch.tensor([1.0]), torch.tensor([-90.0]))
    b = DiagonalNormal(torch.tensor([-5.0]), torch.tensor([80.0]))
    q = precision_weighted(a, b)
    torch.testing.assert_close((q.mean, q.log_variance), (torch.tensor([1.0]), torch.tensor([-90.0])))


def test_divergences_equal_torchs():
    q, p = gaussian((5, 3), 0), gaussian((5, 3), 1)
    step = Step(q.mean, q, p)
    torch.testing.assert_close(step.kl, kl_divergence(as_torch(q), as_torch(p)))
    expected = as_torch(p).log_prob(q.mean) - as_torch(q).log_prob(q.mean)
    torch.testing.assert_close(step.log_ratio, expected.sum(dim=1))


def test_residual_gaussians_have_the_papers_divergence():
    """Vahdat & Kautz, Eq. 4: (dm^2 / s^2 + ds^2 - log ds^2 - 1) / 2."""
    level = ResidualLevel(2, (3, 3), 8, 8)
    for layer in (level.differ, level.expect):
        assert isinstance(layer, nn.Conv2d)
        nn.init.normal_(layer.weight, std=0.3)
    inside = level.enter(torch.randn(4, 8, 3, 3))
    prior = level.prior(inside)
    posterior = level.posterior(inside, torch.randn(4, 8, 3, 3), prior)
    shift, log_ratio = posterior.mean - prior.mean, posterior.log_variance - prior.log_variance
    expected = 0.5 * (shift.square() / prior.log_variance.exp() + log_ratio.exp() - log_ratio - 1)
    torch.testing.assert_close(Step(posterior.mean, posterior, prior).kl, expected, rtol=1e-4, atol=1e-5)
    assert expected.mean() > 0.01


def test_bounds_against_quadrature():
    """Two codes of one unit each: p(x) by a grid over both, which sums to one over all 16 x."""
    model = ladder()
    for level in model.levels:  # posteriors that cover the true ones
        level.evidence.weight.data *= 0.2
        level.evidence.bias.data[1] = 2.0
    x = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)))
    axis = torch.linspace(-9, 9, 181)
    top, low = torch.cartesian_prod(axis, axis).unbind(dim=1)
    area = (axis[1] - axis[0]) ** 2
    weights: list[Tensor] = []

    def choose(number: int, inside: Tensor, prior: DiagonalNormal) -> Tensor:
        z = (top, low)[number][:, None]
        weights.append(prior.log_prob(z))
        return z

    with torch.no_grad():
        parameters = model.descend(len(top), choose)
        log_weight = sum(weights) + area.log()
        exact = torch.stack(
            [(model.likelihood.log_prob(parameters, row.expand(len(top), -1)) + log_weight).logsumexp(0) for row in x]
        )
    assert abs(float(exact.exp().sum()) - 1) < 1e-4
    assert (model.log_prob_bound(x, k=30_000) - exact).abs().max() < 0.03
    one = model.log_prob_bound(x.repeat(400, 1)).view(400, 16).mean(dim=0)
    five = model.log_prob_bound(x.repeat(400, 1), k=5).view(400, 16).mean(dim=0)
    assert (one < exact).all()
    assert one.mean() < five.mean() < exact.mean()


@models
def test_terms_of_the_bound_and_the_loss_agree(make):
    model = make()
    x = examples(model, 6)
    terms = model.bound_terms(x, seed=3)
    torch.testing.assert_close(model.log_prob_bound(x, seed=3), -terms["reconstruction"] - terms["divergence"])
    model.progress = 1.0
    with seeded("many"), torch.no_grad():
        losses = [model.loss(Batch(x)) for _ in range(100)]
    total = torch.stack([loss["reconstruction"] + loss["divergence"] for loss in losses])
    bounds = torch.stack([model.log_prob_bound(x, seed=seed).mean() for seed in range(100)])
    error = ((total.var() + bounds.var()) / 100).sqrt()
    assert abs(float(total.mean() + bounds.mean())) < 4.5 * float(error)
    each = sum(losses[0][f"divergence_{level}"] for level in range(1, 1 + len(model.shapes)))
    torch.testing.assert_close(each, losses[0]["divergence"])


@models
def test_samples_use_the_way_down_alone(make):
    model = make()
    before = model.sample(3, seed=1)
    for weight in model.bottom_up.parameters():
        weight.data.zero_()
    assert torch.equal(before, model.sample(3, seed=1))


@models
def test_codes_hold_everything(make):
    model = make()
    x = examples(model, 5)
    z = model.encode(x)
    assert z.shape[1] == sum(torch.Size(shape).numel() for shape in model.shapes)
    with torch.no_grad():
        expected = model.likelihood.mean(model.infer(model.features(x), torch.zeros_like)[0])
    torch.testing.assert_close(model.reconstruct(x), expected)
    codes = model.draw_code(Noise(4, 3))
    torch.testing.assert_close(model.decode(codes), model.sample(3, seed=4, mode="mean"), rtol=1e-4, atol=1e-5)


@models
def test_cold_samples_are_one_and_the_same(make):
    x = make().sample(4, seed=0, temperature=0.0, mode="mean")
    torch.testing.assert_close(x, x[:1].expand_as(x), rtol=1e-4, atol=1e-4)


def test_warm_up_and_balance():
    model = residual(warm_up=0.5)
    kl = torch.tensor([1.0, 2.0, 0.0, 5.0])
    model.progress = 0.25
    weights = model.weights(kl)
    assert abs(float(weights.mean()) - 0.5) < 1e-6
    sizes = torch.tensor([2.0 * 3 * 2, 2 * 3 * 2, 2 * 5 * 4, 2 * 5 * 4])
    torch.testing.assert_close(weights / weights[0], sizes * (kl + 0.01) / (sizes[0] * 1.01))
    model.progress = 0.5
    assert torch.equal(model.weights(kl), torch.ones(4))
    plain = ladder(warm_up=0.5)
    plain.progress = 0.1
    torch.testing.assert_close(plain.weights(kl[:2]), torch.full((2,), 0.2))


def test_singular_values():
    cells = nn.Sequential(EncoderCell(8), DecoderCell(8, expand=2), nn.Conv2d(8, 3, 1))
    largest = SpectralSum(cells)
    with torch.no_grad():
        for _ in range(300):
            found = largest(cells)
    matrices = [layer.weight.detach().flatten(1) for layer in cells.modules() if isinstance(layer, nn.Conv2d)]
    expected = sum(torch.linalg.svdvals(matrix)[0] for matrix in matrices)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    gradient = torch.autograd.grad(largest(cells), cells[2].weight)[0].flatten(1)
    left, _, right = torch.linalg.svd(matrices[-1], full_matrices=False)
    torch.testing.assert_close(gradient, left[:, :1] @ right[:1], rtol=1e-2, atol=1e-2)


def test_a_spectral_penalty_is_a_term_of_its_own():
    with seeded("loss"):
        terms = residual(spectral=0.5).loss(Batch(examples(residual(), 4)))
    assert terms["spectral"].requires_grad
    assert terms["spectral"] > 0
    assert "spectral" not in residual(spectral=0.0).loss(Batch(examples(residual(), 4)))
