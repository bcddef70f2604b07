"""AnoGAN: what the generator can make is found again, what it cannot make is told apart."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from exnihilo.core import DataSpec, Noise, create, seeded
from exnihilo.models.gans.anomalies import AnoGAN
from exnihilo.models.projector import Projector

PLANE = DataSpec("vector", (2,))
DIGITS = DataSpec("image", (1, 8, 8), levels=17)


@pytest.mark.parametrize("spec", [DIGITS, DataSpec("vector", (6,))], ids=["digits", "vector"])
def test_what_the_generator_made_is_found_again(spec: DataSpec) -> None:
    with seeded("planted"):
        model = create("anogan", spec, width=32, latent=3, steps=150)
        with seeded("settled"):  # the statistics of batches, where there are any
            model.train()
            for _ in range(60):
                model.decode(torch.randn(64, 3))
            model.eval()
        x = model.decode(2 * torch.randn(6, 3)).detach()
        start = model.decode(torch.randn(6, 3))
    before, after = model.residual(x, start), model.residual(x, model.reconstruct(x))
    assert (after.mean() / before.mean()).item() < 0.1


def test_the_score_mixes_entries_and_features() -> None:
    x, other = torch.randn(5, 2), torch.randn(5, 2)
    shares = {share: create("anogan", PLANE, width=16, latent=2, share=share) for share in (0.0, 0.1, 1.0)}
    entries, mixed, features = (model.residual(x, other) for model in shares.values())
    torch.testing.assert_close(entries, (x - other).abs().mean(dim=1))
    torch.testing.assert_close(mixed, 0.9 * entries + 0.1 * features)
    seen, remade = (shares[1.0].critic.features(part) for part in (x, other))
    torch.testing.assert_close(features, (seen - remade).abs().mean(dim=1) / seen.abs().mean(dim=1))
    assert (shares[0.1].residual(x, x) == 0).all()


class Disc(nn.Module):
    """G(z) = tanh z: what is usual lies in a square."""

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return z.tanh()


def test_outside_of_what_is_usual_the_score_is_higher() -> None:
    critic = create("anogan", PLANE, width=16, latent=2).critic
    model = AnoGAN(Disc(), critic, latent=2, projector=Projector(steps=30, starts=1))
    model.spec = PLANE
    usual = Noise(0, range(40)).normal(2).tanh()
    angle = torch.linspace(0, 6.28, 40)
    ring = 2 * torch.stack([angle.cos(), angle.sin()], dim=1)
    x = torch.cat([usual, ring])
    score = model.residual(x, model.reconstruct(x)).detach()
    assert (score[40:, None] > score[None, :40]).float().mean() > 0.95  # the area under the ROC curve


def test_codes_are_the_same_every_time_and_the_model_stays_as_it_was() -> None:
    model = create("anogan", PLANE, width=16, latent=2, steps=20)
    x = torch.randn(4, 2)
    state = torch.get_rng_state()
    first = model.encode(x)
    assert torch.equal(first, model.encode(x))
    assert torch.equal(state, torch.get_rng_state())
    assert first.shape == (4, 2)
    assert all(weight.requires_grad and weight.grad is None for weight in model.parameters())
    assert model.projector == Projector(steps=20)
    assert model.capabilities == ("sample", "encode", "decode", "reconstruct")
