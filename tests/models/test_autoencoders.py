"""Autoencoders: exact bounds in the linear case, order of bounds, every head and kind of data, collapse."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import exnihilo.models  # noqa: F401
from exnihilo.core import Batch, DataSpec, GenerativeModel, Noise, OptionError, Unsupported, create, seeded
from exnihilo.data import load_data
from exnihilo.data.dataset import Dataset
from exnihilo.models.autoencoders.choose import convolutional, likelihood_for
from exnihilo.models.autoencoders.estimators import active_units
from exnihilo.models.autoencoders.family import VAE
from exnihilo.models.autoencoders.priors import MixturePrior, StandardNormal
from exnihilo.nets.conv import ConvEncoder
from exnihilo.probability.distributions import DiagonalNormal
from exnihilo.probability.likelihoods import Gaussian

torch.set_num_threads(1)


def table() -> Dataset:
    rng = np.random.default_rng(1)
    colour = rng.choice(["red", "blue", "green"], 200)
    mass = np.where(rng.random(200) < 0.2, np.nan, rng.normal(size=200) + 3 * (colour == "red"))
    return load_data(pd.DataFrame({"colour": colour, "size": rng.integers(1, 9, 200), "mass": mass}))


DIGITS, TABLE = load_data("digits"), table()
SPECS = {
    "digits": DIGITS.spec,
    "table": TABLE.spec,
    "vector": DataSpec("vector", (2,), examples=50),
    "binary": DataSpec("vector", (9,), levels=2, examples=50),
    "odd image": DataSpec("image", (1, 9, 7), levels=4, examples=50),
    "binary image": DataSpec("image", (1, 8, 8), levels=2, examples=50),
    "colour image": DataSpec("image", (3, 16, 16), levels=256, examples=50),
    "series": DataSpec("series", (2, 12), examples=50),
}


def examples(spec: DataSpec, n: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    if spec.kind == "table":
        return TABLE.first(n).x
    if spec.levels:
        return spec.from_levels(torch.randint(spec.levels, (n, *spec.shape), generator=generator))
    common = torch.randn(n, *[1] * len(spec.shape), generator=generator)
    return common + 0.1 * torch.randn(n, *spec.shape, generator=generator)


def fit(model: GenerativeModel, x: Tensor, steps: int, rate: float = 1e-3) -> list[float]:
    optimizer = torch.optim.Adam(model.parameters(), rate)
    losses = []
    with seeded("fit"):
        for _ in range(steps):
            terms = [term for term in model.loss(Batch(x)).values() if term.requires_grad]
            loss = torch.stack(terms).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    model.eval()
    return losses


# -- the linear case, where everything is known ----------------------------------------------------------------------


class LinearEncoder(nn.Module):
    """q = N(A (x - m), diag exp(v)), v free of x."""

    def __init__(self, size: int, latent: int):
        super().__init__()
        self.layer = nn.Linear(size, latent)
        self.log_variance = nn.Parameter(torch.zeros(latent))

    def forward(self, x: Tensor) -> Tensor:
        mean = self.layer(x)
        return torch.stack([mean, self.log_variance.expand_as(mean)], dim=1)


def principal_vae(variances: Tensor, noise: float, latent: int) -> tuple[VAE, Tensor]:
    """The linear VAE whose posterior is exact for data N(0, C), C = W W^T + noise I, and C itself."""
    size = len(variances)
    axes = torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(0)).double()).Q
    top = variances[:latent]
    weight = axes[:, :latent] * (top - noise).sqrt()
    vae = VAE(
        LinearEncoder(size, latent), nn.Linear(latent, size), Gaussian(floor=1e-3), StandardNormal((latent,))
    ).double()
    vae.spec = DataSpec("vector", (size,))
    with torch.no_grad():
        vae.encoder.layer.weight.copy_(weight.T / top[:, None])  # M^-1 W^T with M = diag(top)
        vae.encoder.layer.bias.zero_()
        vae.encoder.log_variance.copy_((noise / top).log())
        vae.decoder.weight.copy_(weight)
        vae.decoder.bias.zero_()
        vae.likelihood.log_sigma.fill_(0.5 * math.log(noise - 1e-6))
    return vae, weight @ weight.T + noise * torch.eye(size).double()


def test_importance_weights_are_constant_where_the_posterior_is_exact():
    """Every weight is log p(x) then, so one is enough; likelihood card 3.1 and 3.3."""
    vae, covariance = principal_vae(torch.tensor([4.0, 2, 1, 0.3, 0.3, 0.3]).double(), 0.3, 3)
    x = torch.randn(7, 6, dtype=torch.float64) * 2
    exact = torch.distributions.MultivariateNormal(torch.zeros(6).double(), covariance).log_prob(x)
    for k in (2, 5, 9000):
        torch.testing.assert_close(vae.log_prob_bound(x, k=k), exact, rtol=1e-8, atol=1e-8)


def test_elbo_is_the_log_density_where_the_posterior_is_exact():
    """With the divergence in closed form the equality holds on average over draws (card 3.1), and here to 4 s.e."""
    vae, covariance = principal_vae(torch.tensor([4.0, 2, 1, 0.3, 0.3, 0.3]).double(), 0.3, 3)
    x = torch.randn(1, 6, dtype=torch.float64)
    exact = torch.distributions.MultivariateNormal(torch.zeros(6).double(), covariance).log_prob(x)
    bounds = vae.log_prob_bound(x.expand(40_000, -1))
    error = bounds.std() / math.sqrt(len(bounds))
    assert error < 0.02
    assert abs(float(bounds.mean() - exact)) < 4 * float(error)
    with seeded("loss"):
        terms = vae.loss(Batch(x.expand(40_000, -1)))
    total = (terms["reconstruction"] + terms["divergence"]).item()
    assert abs(total + exact.item()) < 4 * float(error)


def test_linear_collapse_follows_the_spectrum():
    """Lucas et al., 2019: a unit dies if and only if its eigenvalue is below the noise; card 3.11."""
    variances = torch.tensor([9.0, 6, 4, 0.5, 0.3])
    vae, _ = principal_vae(variances.double(), 0.25, 5)
    vae = vae.float()
    torch.manual_seed(0)
    x = torch.randn(512, 5) * variances.sqrt()
    vae.likelihood.log_sigma.requires_grad_(False).fill_(0.5 * math.log(2.0))  # between the third and the fourth
    for layer in (vae.encoder.layer, vae.decoder):
        layer.reset_parameters()
    fit(vae, x, 800, rate=2e-2)
    assert int(active_units(vae.prior.kl(vae.posterior(x)))) == 3


def test_active_units_counts_divergences():
    q = DiagonalNormal(torch.tensor([[1.0, 0, 0.2], [-1, 0, 0.2]]), torch.tensor([[0.0, 0, 0], [0, 0, 0]]))
    assert active_units(StandardNormal((3,)).kl(q)).item() == 2  # 0.5, 0 and 0.02 nats


# -- bounds ----------------------------------------------------------------------------------------------------------


def test_bounds_are_ordered():
    """ELBO <= IW-5 <= IW-50 on average (likelihood card U7), by more than the noise for a posterior that is off."""
    model = create("vae", DIGITS, latent=4, width=32)
    x = DIGITS.first(128).x
    fit(model, x, 60, rate=3e-3)
    figures = [torch.stack([model.log_prob_bound(x, k=k, seed=s).mean() for s in range(4)]) for k in (1, 5, 50)]
    for looser, tighter in zip(figures[:-1], figures[1:], strict=True):
        error = math.sqrt(float(looser.var() + tighter.var()) / 4)
        assert float(tighter.mean() - looser.mean()) > 3 * error


def test_bound_depends_on_its_seed_alone():
    model, x = create("vae", DIGITS, latent=3, width=16), DIGITS.first(9).x
    state = torch.get_rng_state()
    for k in (1, 7):
        whole = model.log_prob_bound(x, k=k, seed=4)
        torch.testing.assert_close(model.log_prob_bound(x[:2], k=k, seed=4), whole[:2])
        assert not torch.equal(model.log_prob_bound(x, k=k, seed=5), whole)
    assert torch.equal(torch.get_rng_state(), state)


def test_bound_of_a_one_pixel_world_is_below_its_exact_probability():
    """x of one binary entry and a two-dimensional code: log p(x) by quadrature over the code."""
    spec = DataSpec("vector", (1,), levels=2)
    model = create("vae", spec, latent=2, width=16).double()
    with torch.no_grad():
        for weight in model.decoder.parameters():
            weight.mul_(3)
    axis = torch.linspace(-7, 7, 300, dtype=torch.float64)
    z = torch.cartesian_prod(axis, axis)
    prior = model.prior.log_prob(z) + 2 * math.log(axis[1] - axis[0])
    x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    with torch.no_grad():
        parameters = model.parameters_of(z)
        exact = torch.stack(
            [(model.likelihood.log_prob(parameters, v.expand(len(z), 1)) + prior).logsumexp(0) for v in x]
        )
    assert abs(float(exact.exp().sum()) - 1) < 1e-6
    loose = torch.stack([model.log_prob_bound(x, seed=s) for s in range(200)]).mean(dim=0)
    tight = model.log_prob_bound(x, k=50_000)
    assert (loose < exact + 0.02).all()
    torch.testing.assert_close(tight, exact, atol=0.02, rtol=0)


# -- every kind of data ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vae", "autoencoder"])
@pytest.mark.parametrize("kind", list(SPECS))
def test_every_kind_is_coded_decoded_and_learnt(name, kind):
    spec = SPECS[kind]
    model, x = create(name, spec, latent=3, width=48), examples(spec, 16)
    assert model.encode(x).shape == (16, 3)
    assert model.decode(torch.zeros(2, 3)).shape == (2, *spec.shape)
    assert model.reconstruct(x).shape == x.shape
    losses = fit(model, x, 60, rate=3e-3)
    assert all(map(math.isfinite, losses))
    assert sum(losses[-5:]) < sum(losses[:5])
    if name == "autoencoder":
        with pytest.raises(Unsupported, match="autoencoder cannot sample"):
            model.sample(2)


@pytest.mark.parametrize("kind", list(SPECS))
def test_samples_are_of_the_data_s_kind(kind):
    spec = SPECS[kind]
    model = create("vae", spec, latent=3, width=16)
    x = model.sample(20, seed=0)
    assert x.shape == (20, *spec.shape)
    torch.testing.assert_close(model.sample(3, seed=0), x[:3])
    if model.mass:
        torch.testing.assert_close(spec.quantise(x), x)
    mean = model.sample(20, seed=0, mode="mean")
    torch.testing.assert_close(mean, model.decode(model.prior.draw(Noise(0, 20))))
    assert not torch.equal(mean, x)


def test_networks_suit_the_data():
    assert not convolutional(DIGITS.spec)
    assert not convolutional(DataSpec("image", (1, 28, 7), levels=4))
    assert isinstance(create("vae", DataSpec("image", (3, 32, 32), levels=256), width=48).encoder, ConvEncoder)


# -- heads -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", ["gaussian", "logistic", "mixture_logistic", "categorical"])
def test_every_head_learns_digits(likelihood):
    model, x = create("vae", DIGITS, likelihood=likelihood, latent=3, width=48), DIGITS.first(32).x
    assert model.mass == (likelihood != "gaussian")
    losses = fit(model, x, 80, rate=3e-3)
    assert losses[-1] < losses[0] - 20  # nats


def test_masses_beat_independent_histograms_soon():
    """1.4 nats a pixel and more by 500 steps; the histogram has 105.9 (card 9.2), uniform levels 181."""
    model, x = create("vae", DIGITS, width=96), DIGITS.split("train").first(512).x
    fit(model, x, 250, rate=3e-3)
    assert float(model.log_prob_bound(x).mean()) > -105.9


@pytest.mark.parametrize(
    ("kind", "likelihood", "message"),
    [
        ("digits", "bernoulli", "17 levels"),
        ("vector", "logistic", "continuous"),
        ("vector", "bernoulli", "continuous"),
        ("table", "gaussian", "likelihood=auto"),
        ("digits", "guassian", "Did you mean 'gaussian'"),
    ],
)
def test_a_wrong_head_is_refused(kind, likelihood, message):
    with pytest.raises(OptionError, match=message):
        create("vae", SPECS[kind], likelihood=likelihood)


def test_heads_cover_the_support():
    heads = {kind: type(likelihood_for(spec)).__name__ for kind, spec in SPECS.items()}
    assert heads == {
        "digits": "DiscretisedLogistic",
        "table": "Mixed",
        "vector": "Gaussian",
        "binary": "Bernoulli",
        "odd image": "DiscretisedLogistic",
        "binary image": "Bernoulli",
        "colour image": "DiscretisedLogistic",
        "series": "Gaussian",
    }


def test_a_table_s_encoder_reads_the_row_behind_the_noise():
    model, x = create("vae", TABLE, latent=3, width=16), TABLE.first(40).x
    with seeded("noise"):
        noisy, _ = TABLE.spec.dequantise(x)
    assert not torch.equal(noisy, x)
    torch.testing.assert_close(model.encode(noisy), model.encode(x), atol=1e-5, rtol=1e-5)


def test_a_table_s_bound_ignores_the_filler_of_missing_numbers():
    """log p(x + noise) - log q(noise) is the same whatever stands in the empty place."""
    model, x = create("vae", TABLE, latent=3, width=16), TABLE.first(60).x
    mass = next(column for column in TABLE.spec.columns if column.name == "mass")
    gone = x[:, mass.start + 1] > 0.5
    assert gone.any()
    with seeded("noise"):
        noisy, log_q = TABLE.spec.dequantise(x)
    other, shift = noisy.clone(), torch.randn(len(x))
    other[gone, mass.start] += shift[gone]
    filler = -0.5 * (other[:, mass.start].square() - noisy[:, mass.start].square())
    net = model.log_prob_bound(noisy) - log_q
    other_net = model.log_prob_bound(other) - (log_q + torch.where(gone, filler, 0.0))
    torch.testing.assert_close(net, other_net, atol=1e-4, rtol=1e-5)


def test_unobserved_entries_are_not_counted():
    spec = SPECS["vector"]
    model, x = create("autoencoder", spec, latent=2, width=16), examples(spec)
    mask = torch.tensor([[True, False]]).expand(len(x), -1)
    error = (model.reconstruct(x) - x)[:, 0].square().mean()
    torch.testing.assert_close(model.loss(Batch(x, mask=mask))["reconstruction"], error)


# -- a prior fitted to the codes -------------------------------------------------------------------------------------


def test_mixture_prior_is_standard_normal_until_it_is_fitted():
    prior, z = MixturePrior(3, 5), torch.randn(10, 3)
    torch.testing.assert_close(prior.log_prob(z), StandardNormal((3,)).log_prob(z), atol=1e-5, rtol=1e-5)


def test_mixture_prior_moves_to_the_codes_and_is_no_player():
    data = DIGITS.split("train")
    model = create("vae", DIGITS, prior="mixture", latent=3, width=32)
    x = data.first(400).x
    fit(model, x, 80, rate=3e-3)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    bound, old = model.log_prob_bound(x, k=20).mean(), model.sample(1000, seed=0, mode="mean")
    learn, last = model.stages()
    assert [player.name for player in learn.players()] == ["model"]
    assert list(last.players()) == []
    assert last.enter is not None
    with seeded("prior"):
        last.enter(data)
    assert all(torch.equal(weight, before[name]) for name, weight in model.named_parameters())
    assert model.log_prob_bound(x, k=20).mean() > bound + 0.1
    codes, drawn = model.encode(x), model.code.draw(Noise(0, 4000))
    torch.testing.assert_close(drawn.mean(dim=0), codes.mean(dim=0), atol=0.15, rtol=0)
    assert not torch.equal(model.sample(1000, seed=0, mode="mean"), old)


def test_a_plain_vae_has_one_stage():
    assert [stage.name for stage in create("vae", DIGITS, width=16).stages()] == ["train"]
