from __future__ import annotations

import pytest
import torch
from torch import nn

import exnihilo.models  # noqa: F401
from exnihilo.core import DataSpec, GenerativeModel, OptionError, Unsupported, create
from exnihilo.models.projector import Projector, resting

SPEC = DataSpec("vector", (12,), examples=100)


@pytest.fixture(scope="module")
def generator():
    """A random generator with eight latents, dropout inside, in training mode."""
    model = create("gan", SPEC, seed=3, width=32, latent=8)
    model.generator = nn.Sequential(nn.Linear(8, 32), nn.SiLU(), nn.Dropout(0.5), nn.Linear(32, 12))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for layer in model.generator.children():
            if isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, std=0.4)
    return model.train()


@pytest.fixture(scope="module")
def planted(generator):
    with resting(generator), torch.no_grad():
        return generator.decode(torch.randn(20, 8, generator=torch.Generator().manual_seed(1)))


def test_planted_examples_are_found(generator, planted):
    """AnoGAN's check: of x = G(z1) at least nine tenths of the residual go."""
    found = Projector(steps=300, starts=2).project(generator, planted)
    with resting(generator), torch.no_grad():
        first = Projector(steps=1, starts=1, rate=1e-9).project(generator, planted)
        assert torch.equal(found.rebuilt, generator.decode(found.codes))
        assert torch.equal(found.residual, generator.residual(planted, found.rebuilt))
    assert found.residual.mean() <= 0.1 * first.residual.mean()
    assert (found.residual <= first.residual).all()


def test_the_model_stays_as_it_was(generator, planted):
    generator.critic.requires_grad_(False)
    before = {name: weight.clone() for name, weight in generator.named_parameters()}
    Projector(steps=3).project(generator, planted[:2])
    assert all(part.training for part in generator.modules())
    assert all(weight.requires_grad for weight in generator.generator.parameters())
    assert not any(weight.requires_grad for weight in generator.critic.parameters())
    assert all(weight.grad is None for weight in generator.parameters())
    assert all(torch.equal(before[name], weight) for name, weight in generator.named_parameters())


def test_it_is_a_function_of_seed_and_place(generator, planted, monkeypatch):
    one, other = (Projector(steps=5, seed=seed).project(generator, planted) for seed in (0, 1))
    torch.rand(3)  # of no concern
    monkeypatch.setattr(generator, "chunk", 7)
    again = Projector(steps=5).project(generator, planted)
    torch.testing.assert_close(one.codes, again.codes)
    assert not torch.allclose(one.codes, other.codes)


def test_more_starts_never_find_less(generator, planted):
    few, many = (
        Projector(steps=10, starts=starts, prior_weight=0.0).project(generator, planted).residual for starts in (1, 4)
    )
    assert (many <= few).all()
    assert (many < few).any()


def test_a_start_is_taken_and_a_penalty_keeps_codes_small(generator, planted):
    truth = torch.randn(20, 8, generator=torch.Generator().manual_seed(1))
    found = Projector(steps=1, rate=1e-6, prior_weight=0.0).project(generator, planted, start=truth)
    assert found.residual.max() < 1e-4
    free, kept = (
        Projector(steps=50, prior_weight=weight).project(generator, planted).codes.square().mean() for weight in (0, 1)
    )
    assert kept < 0.7 * free


class Ruler(GenerativeModel):
    """Decodes z to (z, z) and measures by the largest difference; it draws no codes."""

    recipe = "ruler"

    def decode(self, z):
        return z.repeat(1, 2)

    def residual(self, x, rebuilt):
        return (x - rebuilt).abs().flatten(1).amax(dim=1)


def test_the_residual_is_the_models():
    found = Projector(steps=400, rate=0.05, prior_weight=0.0).project(
        Ruler(), torch.tensor([[1.0, 3.0]]), start=torch.zeros(1, 1)
    )
    assert found.codes.item() == pytest.approx(2.0, abs=0.02)
    assert found.residual.item() == pytest.approx(1.0, abs=0.02)
    assert GenerativeModel.residual(Ruler(), torch.ones(1, 2), torch.tensor([[1.0, 4.0]])).item() == 1.5


class Rounding(Ruler):
    def decode(self, z):
        return z.detach().repeat(1, 2)


def test_mistakes_are_told():
    with pytest.raises(OptionError, match="steps=0"):
        Projector(steps=0)
    with pytest.raises(Unsupported, match="gmm cannot decode"):
        Projector().project(create("gmm", SPEC), torch.zeros(1, 12))
    with pytest.raises(Unsupported, match="draws no codes"):
        Projector().project(Ruler(), torch.zeros(1, 2))
    with pytest.raises(Unsupported, match="whole numbers"):
        Projector().project(Ruler(), torch.zeros(1, 2), start=torch.zeros(1, 1, dtype=torch.long))
    with pytest.raises(Unsupported, match="No gradient passes ruler"):
        Projector(prior_weight=0.0).project(Rounding(), torch.zeros(1, 2), start=torch.ones(1, 1))
