"""The VAE's slots: bounds, priors, conditions, classes and unobserved entries, each against what is known exactly."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import exnihilo.models  # noqa: F401
from exnihilo.core import Batch, DataError, DataSpec, ModelError, Noise, TrainingError, create, seeded
from exnihilo.data import load_data
from exnihilo.models.autoencoders.estimators import (
    CapacityELBO,
    ImportanceWeighted,
    WeightedELBO,
    clustered_elbo,
    effective_samples,
    elbo,
    free_nats,
)
from exnihilo.models.autoencoders.family import VAE
from exnihilo.models.autoencoders.imputation import complete
from exnihilo.models.autoencoders.priors import ConditionalNormal, LearnedMixture, StandardNormal, VampPrior
from exnihilo.models.autoencoders.unobserved import MIWAE
from exnihilo.probability.distributions import DiagonalNormal
from exnihilo.probability.likelihoods import Gaussian

torch.set_num_threads(1)
DIGITS = load_data("digits")
SMALL = {"latent": 3, "width": 24}


@pytest.fixture(autouse=True)
def one_seed():
    with seeded("tests"):
        yield


class LinearEncoder(nn.Module):
    """q = N(A x, diag exp(v)), v free of x."""

    def __init__(self, size: int, latent: int):
        super().__init__()
        self.layer = nn.Linear(size, latent)
        self.log_variance = nn.Parameter(torch.zeros(latent))

    def forward(self, x: Tensor) -> Tensor:
        mean = self.layer(x)
        return torch.stack([mean, self.log_variance.expand_as(mean)], dim=1)


def linear_vae(size: int = 4, latent: int = 2, noise: float = 0.4, kind: type[VAE] = VAE, **slots) -> VAE:
    """Random linear encoder and decoder in double precision: x ~ N(b, W W^T + noise I) exactly."""
    generator = torch.Generator().manual_seed(0)
    encoder, decoder = LinearEncoder(size, latent), nn.Linear(latent, size)
    vae = kind(encoder, decoder, Gaussian(floor=1e-3), StandardNormal((latent,)), **slots).double()
    vae.spec = DataSpec("vector", (size,))
    with torch.no_grad():
        for weight in (*encoder.parameters(), *decoder.parameters()):
            weight.copy_(0.6 * torch.randn(weight.shape, generator=generator))
        vae.likelihood.log_sigma.fill_(0.5 * math.log(noise - 1e-6))
    return vae


def exact(vae: VAE) -> torch.distributions.MultivariateNormal:
    weight, bias = vae.decoder.weight.detach(), vae.decoder.bias.detach()
    covariance = weight @ weight.T + vae.likelihood.variance.detach() * torch.eye(len(bias)).double()
    return torch.distributions.MultivariateNormal(bias, covariance)


def gradients(vae: VAE, estimator, x: Tensor) -> dict[str, Tensor]:
    loss = sum(term for term in estimator(vae, x).values() if term.requires_grad)
    names, weights = zip(*vae.named_parameters(), strict=True)
    return dict(zip(names, torch.autograd.grad(loss, weights), strict=True))


# -- bounds ----------------------------------------------------------------------------------------------------------


def test_bounds_are_ordered_below_the_exact_density():
    """ELBO <= IW-5 <= IW-50 <= log p(x) on average, by more than the noise; likelihood card U7."""
    vae = linear_vae()
    x = exact(vae).sample((400,))
    log_p = exact(vae).log_prob(x).mean()
    means = []
    for k in (1, 5, 50):
        draws = torch.stack([vae.log_prob_bound(x, k=k, seed=s).mean() for s in range(6)])
        means.append((float(draws.mean()), float(draws.std() / math.sqrt(6))))
    for (low, low_error), (high, high_error) in zip(means[:-1], means[1:], strict=True):
        assert high - low > 3 * math.hypot(low_error, high_error)
    assert means[-1][0] < float(log_p) + 3 * means[-1][1]
    assert float(vae.log_prob_bound(x, k=3000).mean()) == pytest.approx(float(log_p), abs=0.02)


def test_training_minimises_what_the_figure_reports():
    """The loss against `log_prob_bound` over the same examples, both by their own draws; within 4 standard errors."""
    vae, x = linear_vae(), torch.randn(20_000, 4, dtype=torch.float64)
    vae.encoder.log_variance.data.fill_(0.0)
    for k in (2, 6):
        figure = vae.log_prob_bound(x, k=k)
        error = math.sqrt(2 / len(x)) * figure.std().item()
        for gradient in ("iwae", "dreg"):
            with seeded("value"):
                value = -ImportanceWeighted(k, gradient)(vae, x)["bound"].item()
            assert value == pytest.approx(figure.mean().item(), abs=4 * error)


@pytest.mark.parametrize("k", [1, 5])
def test_doubly_reparameterised_gradient_is_the_same_on_average_and_steadier(k):
    """Tucker et al., 2019, Eq. 6; likelihood card 3.3: equal within 4 standard errors, smaller variance."""
    vae, x = linear_vae(), torch.randn(1, 4, generator=torch.Generator().manual_seed(2)).double()
    runs: dict[str, list[Tensor]] = {"iwae": [], "dreg": []}
    with seeded("gradients"):
        for name, kept in runs.items():
            for _ in range(300):
                kept.append(
                    torch.cat(
                        [g.flatten() for g in gradients(vae, ImportanceWeighted(k, name), x.expand(20, -1)).values()]
                    )
                )
    iwae, dreg = (torch.stack(kept) for kept in runs.values())
    error = (iwae.var(dim=0) + dreg.var(dim=0)).div(300).sqrt()
    assert ((iwae.mean(dim=0) - dreg.mean(dim=0)).abs() < 4.5 * error + 1e-12).all()
    encoder = slice(0, sum(weight.numel() for weight in vae.encoder.parameters()))
    assert dreg[:, encoder].var(dim=0).sum() < iwae[:, encoder].var(dim=0).sum()


def test_decoder_gradient_is_not_changed_by_double_reparameterisation():
    vae, x = linear_vae(), torch.randn(5, 4).double()
    both = []
    for name in ("iwae", "dreg"):
        with seeded("same draws"):
            both.append(gradients(vae, ImportanceWeighted(7, name), x))
    for name in ("decoder.weight", "decoder.bias", "likelihood.log_sigma"):
        torch.testing.assert_close(both[0][name], both[1][name])
    assert not torch.allclose(both[0]["encoder.layer.weight"], both[1]["encoder.layer.weight"])


def test_effective_samples():
    equal = torch.zeros(2, 8)
    one = torch.tensor([[0.0] + [-1e3] * 7])
    torch.testing.assert_close(effective_samples(equal), torch.full((2,), 8.0))
    torch.testing.assert_close(effective_samples(one), torch.ones(1))
    torch.testing.assert_close(
        effective_samples(torch.tensor([[0.3, -0.4]]).log_softmax(1) + 50),
        effective_samples(torch.tensor([[0.3, -0.4]])),
    )


# -- weights of the divergence ---------------------------------------------------------------------------------------


def objective(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack([term for term in terms.values() if term.requires_grad]).sum()


def test_beta_one_is_the_bound_and_beta_scales_the_divergence():
    vae, x = linear_vae(), torch.randn(6, 4).double()
    with seeded("draw"):
        plain = elbo(vae, x)
    for beta in (1.0, 4.0):
        with seeded("draw"):
            terms = WeightedELBO(beta)(vae, x)
        torch.testing.assert_close(terms["divergence"], beta * plain["divergence"])
        torch.testing.assert_close(terms["reconstruction"], plain["reconstruction"])
        torch.testing.assert_close(terms["nats"], plain["divergence"].detach())


def test_warm_up_and_capacity_rise_with_the_progress():
    weight = WeightedELBO(beta=4, warm_up=0.5).weight
    assert [weight(p) for p in (0, 0.25, 0.5, 1)] == [0, 2, 4, 4]
    assert WeightedELBO(beta=4).weight(0) == 4
    allowed = CapacityELBO(1000, 25).allowed
    assert [allowed(p) for p in (0, 0.25, 0.5, 1)] == [0, 12.5, 25, 25]
    assert CapacityELBO(1000, 25).at_end().allowed(0) == 25
    assert WeightedELBO(beta=4, warm_up=0.5).at_end().weight(0) == 4
    vae, x = linear_vae(), torch.randn(6, 4).double()
    nats = vae.prior.kl(vae.posterior(x)).sum(dim=1).mean().item()
    vae.progress = 0.25
    terms = CapacityELBO(10, 2 * nats)(vae, x)
    assert terms["divergence"].item() == pytest.approx(0, abs=1e-9)
    vae.progress = 1.0
    assert CapacityELBO(10, 2 * nats)(vae, x)["divergence"].item() == pytest.approx(10 * nats)


def test_free_bits_cost_nothing_and_do_not_press():
    kl = torch.tensor([[0.1, 0.9, 0.2], [0.3, 1.1, 0.0]], requires_grad=True)
    total = free_nats(kl, 0.25)
    assert total.item() == pytest.approx(0.25 + 1.0 + 0.25)
    (gradient,) = torch.autograd.grad(total, kl)
    torch.testing.assert_close(gradient, torch.tensor([[0.0, 0.5, 0], [0, 0.5, 0]]))
    assert free_nats(kl, 0.0).item() == pytest.approx(1.3)


def test_beta_vae_says_less_the_larger_beta():
    x = DIGITS.split("train").first(256).x
    nats = []
    for beta in (0.5, 8.0):
        model = create("beta_vae", DIGITS, beta=beta, **SMALL)
        descend(model, Batch(x), 150)
        nats.append(float(model.bound_terms(x)["divergence"].mean()))
    assert nats[1] < 0.8 * nats[0]


def descend(model, batch: Batch, steps: int, rate: float = 3e-3) -> list[float]:
    optimizer, losses = torch.optim.Adam(model.parameters(), rate), []
    with seeded("descend"):
        for _ in range(steps):
            loss = objective(model.loss(batch))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    model.eval()
    return losses


# -- priors ----------------------------------------------------------------------------------------------------------


def golden_mixture() -> LearnedMixture:
    """Likelihood card G18."""
    prior = LearnedMixture(2, 3).double()
    with torch.no_grad():
        prior.logits.copy_(torch.tensor([0.5, 0.3, 0.2]).double().log() + 4)
        prior.means.copy_(torch.tensor([[-1.0, 0], [1, 1], [0, -2]]))
        prior.log_variances.copy_(2 * torch.tensor([[1, 0.5], [0.7, 0.7], [1.2, 1]]).double().log())
    return prior


def test_responsibilities_are_the_golden_ones():
    prior, z = golden_mixture(), torch.tensor([[0.2, 0.4]]).double()
    golden = torch.tensor([[0.60589072, 0.37829282, 0.01581646]]).double()
    torch.testing.assert_close(prior.log_responsibilities(z).exp(), golden, atol=2e-8, rtol=0)
    assert prior.log_prob(z).item() == pytest.approx(-2.37682142, abs=1e-8)


def test_clustered_divergence_is_what_sampling_gives():
    """Closed form of Jiang et al., Eq. 12 against E[log q(z) + log q(c) - log p(z | c) - log p(c)]; within 1 %."""
    prior = golden_mixture()
    q = DiagonalNormal(torch.tensor([[0.3, -0.2]]).double(), torch.tensor([[-1.0, -0.3]]).double())
    log_shares = torch.tensor([[0.2, 0.5, 0.3]]).double().log()
    with seeded("draws"):
        z, log_q = q.repeat(200_000).sample(torch.randn(200_000, 2, dtype=torch.float64))
    joint = prior.density.component_log_prob(z)  # log p(z | c) p(c)
    sampled = (log_q[:, None] + log_shares - joint) @ log_shares.exp()[0]
    assert float(prior.divergence(q, log_shares)) == pytest.approx(float(sampled.mean()), rel=0.01)


def test_one_standard_component_is_the_plain_vae():
    vae = linear_vae()
    x = torch.randn(6, 4).double()
    with seeded("draw"):
        plain = elbo(vae, x)
    vae.prior = LearnedMixture(2, 1).double()
    nn.init.zeros_(vae.prior.means)
    with seeded("draw"):
        clustered = clustered_elbo(vae, x)
    for name in ("reconstruction", "divergence", "active_units"):
        torch.testing.assert_close(plain[name], clustered[name])
    assert float(clustered["clusters"]) == pytest.approx(1)


def test_clusters_start_at_those_of_the_codes():
    data = DIGITS.split("train")
    model = create("gmvae", DIGITS, components=5, **SMALL)
    codes, train = model.stages()
    (player,) = codes.players()
    moving = {id(weight) for weight in player.module.parameters()}
    assert not any(id(weight) in moving for weight in model.prior.parameters())
    with seeded("enter"):
        train.enter(data)
    x = data.first(500).x
    code, drawn = model.encode(x), model.prior.draw(Noise(0, 5000))
    torch.testing.assert_close(drawn.mean(dim=0), code.mean(dim=0), atol=0.1, rtol=0)
    torch.testing.assert_close(drawn.std(dim=0), code.std(dim=0), atol=0.1, rtol=0)
    torch.testing.assert_close(model.clusters(x).exp().sum(dim=1), torch.ones(500))


def test_vampprior_is_the_mixture_of_its_posteriors():
    model = create("vampprior", DIGITS, components=6, **SMALL)
    (stage,) = model.stages()
    with seeded("enter"):
        stage.enter(DIGITS.split("train"))
    prior, z = model.prior, torch.randn(9, 3)
    train = DIGITS.split("train").first().x
    assert all((train == u).flatten(1).all(dim=1).any() for u in prior.inputs.detach())
    each = [model.posterior(u[None]) for u in prior.inputs]
    direct = torch.stack([q.repeat(9).log_prob(z) for q in each]).logsumexp(dim=0) - math.log(6)
    torch.testing.assert_close(prior.log_prob(z), direct)
    reached = torch.autograd.grad(prior.log_prob(z).sum(), [prior.inputs, model.encoder.head.weight])
    assert all(gradient.abs().sum() > 0 for gradient in reached)
    mean = torch.cat([q.mean for q in each]).mean(dim=0)
    torch.testing.assert_close(prior.draw(Noise(0, 20_000)).mean(dim=0), mean, atol=0.05, rtol=0)


def test_vampprior_of_one_input_is_its_gaussian():
    prior = VampPrior(LinearEncoder(4, 2), DiagonalNormal.of, DataSpec("vector", (4,)), 1)
    z, q = torch.randn(5, 2), prior.components()
    torch.testing.assert_close(prior.log_prob(z), q.repeat(5).log_prob(z))


def test_a_learned_conditional_prior_is_standard_until_it_learns():
    prior, vector, z = ConditionalNormal(4, 3), torch.randn(6, 4), torch.randn(6, 3)
    standard = StandardNormal((3,))
    torch.testing.assert_close(prior.given(vector).log_prob(z), standard.log_prob(z))
    q = DiagonalNormal(torch.randn(6, 3), torch.randn(6, 3))
    torch.testing.assert_close(prior.given(vector).kl(q), standard.kl(q))
    nn.init.normal_(prior.layer.weight)
    log_p = prior.given(vector).log_prob(z)
    for row in range(6):
        torch.testing.assert_close(prior.given(vector[row : row + 1]).log_prob(z[row : row + 1])[0], log_p[row])


# -- classes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cvae", "m2"])
def test_classes_are_needed(name):
    with pytest.raises(ModelError, match=f"{name} needs labels"):
        create(name, DataSpec("vector", (3,)))


@pytest.mark.parametrize("prior", ["normal", "learned"])
def test_cvae_draws_the_class_it_is_asked_for(prior):
    """Two classes far apart, and a style that both share."""
    generator = torch.Generator().manual_seed(0)
    label = torch.randint(2, (512,), generator=generator)
    x = torch.randn(512, 3, generator=generator) * 0.3 + 2 * (2 * label[:, None] - 1)
    data = load_data((x.numpy(), label.numpy()))
    model = create("cvae", data, prior=prior, latent=2, width=48)
    descend(model, data.split("train").first(), 150)
    low, high = (model.sample(200, seed=0, label=c).mean(dim=1) for c in (0, 1))
    assert (low < 0).float().mean() > 0.95
    assert (high > 0).float().mean() > 0.95
    test = data.split("test").first()
    right, wrong = (model.log_prob_bound(test.x, label=c, k=20).mean() for c in (test.label, 1 - test.label))
    marginal = model.log_prob_bound(test.x, k=20)
    assert float(right - wrong) > 3
    torch.testing.assert_close(marginal.mean(), right - math.log(2), atol=0.1, rtol=0)
    unknown = model.log_prob_bound(test.x, label=torch.full_like(test.label, -1), k=20)
    torch.testing.assert_close(unknown, marginal)


def test_convolutional_networks_are_told_by_further_channels():
    spec = DataSpec("image", (3, 32, 32), levels=256, classes=4, class_shares=(0.25,) * 4, examples=50)
    model = create("cvae", spec, latent=3, width=48)
    assert model.sample(2, seed=0, label=[1, 2]).shape == (2, 3, 32, 32)
    x = torch.zeros(2, 3, 32, 32)
    one, other = (model.encode(x, label=torch.tensor([c, c])) for c in (0, 1))
    assert not torch.allclose(one, other)


def test_cvae_knows_attributes():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=80), "b": rng.normal(size=80), "old": rng.integers(0, 2, 80)})
    data = load_data(frame, attributes="old")
    model = create("cvae", data, **SMALL)
    assert not model.labelled
    assert math.isfinite(float(objective(model.loss(data.split("train").first(20)))))
    drawn = [model.sample(3, seed=0, attributes={"old": value}) for value in ("yes", "no")]
    assert not torch.equal(*drawn)


def semi_supervised():
    model = create("m2", DIGITS, **SMALL).double()
    batch = DIGITS.split("train").first(12)
    return model, batch.x.double(), batch.label


def test_m2_s_labelled_bound_is_below_the_unlabelled_one():
    """L(x, y) <= U*(x) = log sum_y exp L(x, y), which U reaches with its own best classifier; U below it otherwise."""
    model, x, _ = semi_supervised()
    columns = []
    for c in range(10):  # every call draws the same z for an example and a class
        with seeded("draw"):
            parts = model.bound_parts(x, torch.full((len(x),), c), model.classify(x))
        columns.append(-(parts["reconstruction"] + parts["divergence"] + parts["classes"]))
    labelled = torch.stack(columns, dim=1).detach()
    unknown = torch.full((len(x),), -1)
    free = labelled.logsumexp(dim=1)
    assert (labelled <= free[:, None]).all()
    for log_q in (labelled.log_softmax(dim=1), model.classify(x).detach()):
        with seeded("draw"):
            parts = model.bound_parts(x, unknown, log_q)
        unlabelled = -(parts["reconstruction"] + parts["divergence"] + parts["classes"]).detach()
        direct = (log_q.exp() * (labelled - log_q)).sum(dim=1)
        torch.testing.assert_close(unlabelled, direct)
        assert (unlabelled <= free + 1e-9).all()
    with seeded("draw"):
        best = model.bound_parts(x, unknown, labelled.log_softmax(dim=1))
    torch.testing.assert_close(-(best["reconstruction"] + best["divergence"] + best["classes"]).detach(), free)


def test_m2_s_loss_is_of_each_example_what_is_known_of_it():
    model, x, label = semi_supervised()
    some = torch.where(torch.arange(len(x)) < 4, label, -1)
    terms = model.loss(Batch(x, some))
    log_q = model.classify(x)
    expected = -model.weight * log_q[:4].gather(1, label[:4, None]).mean()
    torch.testing.assert_close(terms["cross_entropy"], expected)
    none = model.loss(Batch(x, torch.full_like(label, -1)))
    assert none["cross_entropy"].item() == 0
    (gradient,) = torch.autograd.grad(objective(none), [model.classifier.head.weight])
    assert gradient.abs().sum() > 0  # unlabelled examples teach the classifier too


def test_m2_learns_on_where_it_is_quite_certain():
    """A chance that is 0 in floats has an entropy whose gradient is 0, not 0 times infinity."""
    model, x, label = semi_supervised()
    with torch.no_grad():
        model.classifier.head.bias[0] = 1e4
    objective(model.loss(Batch(x, torch.full_like(label, -1)))).backward()
    assert all(weight.grad is None or weight.grad.isfinite().all() for weight in model.parameters())


def test_m2_without_any_label_is_refused():
    model = create("m2", DIGITS, **SMALL)
    (stage,) = model.stages()
    with pytest.raises(TrainingError, match="gmvae"):
        stage.enter(DIGITS.split("train").map(lambda batch: batch.replace(label=torch.full_like(batch.label, -1))))


def test_m2_classifies_and_decodes_by_class():
    model, x, _ = semi_supervised()
    torch.testing.assert_close(model.classify(x).exp().sum(dim=1), torch.ones(len(x)).double())
    assert "classify" in model.capabilities
    z = torch.randn(5, 3).double()
    means = torch.stack([model.decode(z, label=torch.full((5,), c)) for c in range(10)])
    shares = torch.tensor(DIGITS.spec.class_shares).double()
    torch.testing.assert_close(model.decode(z), torch.einsum("c,cb...->b...", shares, means))
    guess = model.classify(x).argmax(dim=1)
    torch.testing.assert_close(model.reconstruct(x), model.decode(model.encode(x, label=guess), label=guess))


# -- unobserved entries ----------------------------------------------------------------------------------------------


def test_unobserved_entries_do_not_matter():
    for name in ("miwae", "vae", "iwae", "beta_vae"):
        options = {"drop": 0.0} if name == "miwae" else {}
        model = create(name, DataSpec("vector", (4,)), **SMALL, **options)
        x = torch.randn(9, 4)
        mask = torch.rand(9, 4) < 0.6
        other = torch.where(mask, x, 17.0)
        losses = []
        for values in (x, other):
            with seeded("draw"):
                losses.append(objective(model.loss(Batch(values, mask=mask))))
        torch.testing.assert_close(losses[0], losses[1])
        with seeded("draw"):
            assert not torch.equal(losses[0], objective(model.loss(Batch(x))))


def test_nothing_observed_is_worth_nothing():
    """The bound on p(nothing) = 1 is below 0 and rises to it; likelihood card 3.13."""
    vae, x = linear_vae(kind=MIWAE, estimator=elbo), torch.zeros(500, 4).double()
    nothing = torch.zeros(500, 4, dtype=torch.bool)
    bounds = []
    with seeded("draws"):
        for k in (1, 10, 1000):
            bounds.append(-float(ImportanceWeighted(k)(vae, x, nothing)["bound"]))
    assert bounds[0] < bounds[1] < bounds[2] < 0.02
    assert bounds[2] > -0.05


def test_imputation_is_the_exact_conditional():
    """Self-normalised importance sampling against the Gaussian conditional mean and spread (likelihood card 3.13)."""
    vae, plain = linear_vae(kind=MIWAE, estimator=elbo), linear_vae()
    for model in (vae, plain):
        model.encoder.layer.weight.data.mul_(0.2)
        model.encoder.log_variance.data.fill_(0.0)
    x = exact(vae).sample((40,))
    mask = torch.tensor([True, True, False, False]).expand(40, -1)
    joint = exact(vae)
    known, gone = joint.covariance_matrix[:2, :2], joint.covariance_matrix[2:, :2]
    slope = gone @ torch.linalg.inv(known)
    expected = joint.mean[2:] + (x[:, :2] - joint.mean[:2]) @ slope.T
    spread = (joint.covariance_matrix[2:, 2:] - slope @ gone.T).diagonal().sqrt()
    answer = complete(vae, x, mask, particles=20_000)
    error = 5 * spread / answer.effective[:, None].sqrt()  # what the effective number of codes promises
    assert ((answer.mean[:, 2:] - expected).abs() < error).all()
    assert (error < 0.1).float().mean() > 0.8
    torch.testing.assert_close(answer.mean[:, :2], x[:, :2])
    many = complete(vae, x[:1].expand(4000, -1), mask[:1].expand(4000, -1), particles=200).draw[:, 2:]
    torch.testing.assert_close(many.mean(dim=0), expected[0], atol=0.06, rtol=0)
    torch.testing.assert_close(many.std(dim=0), spread, atol=0.04, rtol=0)
    assert plain.sweeps > 0  # the same distribution, whose encoder is told whole examples
    answer = complete(plain, x, mask, particles=20_000)
    assert ((answer.mean[:, 2:] - expected).abs() < 5 * spread / answer.effective[:, None].sqrt()).all()


def test_imputation_belongs_to_the_example_and_keeps_what_is_known():
    model, x = create("miwae", DIGITS, **SMALL), DIGITS.first(9).x
    mask = torch.rand_like(x, generator=None) < 0.5
    whole = model.impute(x, mask, seed=3)
    torch.testing.assert_close(whole[mask], x[mask])
    torch.testing.assert_close(model.impute(x[:4], mask[:4], seed=3), whole[:4])
    assert not torch.equal(model.impute(x, mask, seed=4), whole)
    torch.testing.assert_close(model.spec.quantise(whole), whole)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (torch.ones(9, 3, dtype=torch.bool), r"\(9, 3\)"),
        (torch.ones(9, 4), "float32"),
        (torch.zeros(9, 4, dtype=torch.bool), "All values are missing"),
    ],
)
def test_a_wrong_mask_is_refused(mask, message):
    model = create("miwae", DataSpec("vector", (4,)), **SMALL)
    with pytest.raises(DataError, match=message):
        model.impute(torch.randn(9, 4), mask)


def gappy():
    rng = np.random.default_rng(1)
    n = 300
    size = rng.normal(size=n)
    colour = np.where(size > 0, "red", "blue").astype(object)
    colour[rng.random(n) < 0.3] = None
    weight = np.where(rng.random(n) < 0.3, np.nan, 3 * size + 0.1 * rng.normal(size=n))
    return load_data(pd.DataFrame({"size": size, "colour": colour, "weight": weight}))


def test_a_table_s_gaps_are_gaps_to_miwae_and_values_to_vae():
    data = gappy()
    batch = data.split("train").first()
    assert batch.mask is not None
    miwae, vae = create("miwae", data, k=5, latent=2, width=32), create("vae", data, latent=2, width=32)
    assert miwae.drop == 0
    weight = next(column for column in data.spec.columns if column.name == "weight")
    gone = batch.x[:, weight.start + 1] > 0.5
    with seeded("dequantise"):
        noisy, _ = data.spec.dequantise(batch.x)
    observed = miwae.observed(noisy, None)
    torch.testing.assert_close(observed[:, weight.start + 1], ~gone)
    assert vae.observed(noisy, batch.mask).all()
    descend(miwae, batch, 200)
    descend(vae, batch, 200)
    complete_rows = miwae.sample(400, seed=0)[:, weight.start + 1] < 0.5
    assert complete_rows.float().mean() > 0.97  # it never saw that one is missing
    missing = (vae.sample(400, seed=0)[:, weight.start + 1] > 0.5).float().mean()
    assert 0.15 < float(missing) < 0.45
    filled = miwae.impute(batch.x, batch.mask, seed=0)
    assert (filled[:, weight.start + 1] < 0.5).all()
    rows = gone.nonzero()[:, 0]
    size = next(column for column in data.spec.columns if column.name == "size")
    mean = complete(miwae, batch.x, batch.mask).mean
    slope = torch.corrcoef(torch.stack([mean[rows, weight.start], batch.x[rows, size.start]]))[0, 1]
    assert float(slope) > 0.9
    assert (vae.impute(batch.x, batch.mask, seed=0)[:, weight.start + 1] < 0.5).all()


@pytest.mark.parametrize(
    "name",
    ["vae", "categorical_vae", "vqvae", "ladder_vae", "gmvae", "autoencoder", "denoising_autoencoder",
     "stacked_autoencoder"],
)  # fmt: skip
def test_a_table_s_gaps_are_learnt_and_hidden_entries_are_not(name):
    """A loss whose mask holds all but the gaps is that without a mask; a hidden entry moves no decoder weight."""
    data = gappy()
    batch = data.split("train").first(64)
    model = create(name, data, width=32, seed=0)

    def loss(mask: Tensor | None) -> float:
        with seeded("loss"):
            return model.loss(batch.replace(mask=mask))["reconstruction"].item()

    assert loss(batch.mask) == pytest.approx(loss(None), rel=1e-6)
    hidden = batch.mask.clone()
    hidden[:, data.spec.columns[0].start] = False
    assert loss(hidden) != pytest.approx(loss(None), rel=1e-3)


def test_complete_tables_lose_whole_columns_in_training():
    data = load_data(pd.DataFrame({"a": [0.1, 2.0, 3.5, 4.0] * 20, "b": ["x", "y", "z", "y"] * 20}))
    model = create("miwae", data, **SMALL)
    assert model.drop == 0.5
    batch = data.split("train").first(50)
    with seeded("drop"):
        kept = model._hide(batch)
    for column in data.spec.columns:
        part = kept[:, column.slice]
        assert (part.all(dim=1) | ~part.any(dim=1)).all()
        assert 0.2 < float(part[:, 0].float().mean()) < 0.8
