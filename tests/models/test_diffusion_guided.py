"""`adm`: the standard U-Net as a denoiser, and a classifier of noisy examples that guides it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from exnihilo.core import Attribute, Batch, Conditions, DataSpec, OptionError, Prediction, Unsupported, create, seeded
from exnihilo.data import load_data
from exnihilo.models.diffusion.guided import GuidedDiffusion
from exnihilo.models.diffusion.standard import NoisyClassifier, number_of
from exnihilo.training import Budget, Hook, Trainer
from tests.models.test_diffusion import IMAGE, SPECS, VECTOR, rough, some
from tests.models.test_diffusion_parts import MEANS, SHARES, mixture, responsibilities

BELLS = DataSpec("vector", (1,), classes=2, class_names=("left", "right"), class_shares=(0.3, 0.7), examples=100)


def adm(spec: DataSpec, **options: Any) -> GuidedDiffusion:
    model = create("adm", spec, width=8, **options)
    assert isinstance(model, GuidedDiffusion)
    return model


def bells(n: int) -> Batch:
    """The mixture of `test_diffusion_parts`, from torch's generator."""
    label = (torch.rand(n) < SHARES[1]).long()
    return Batch((MEANS[label][:, None] + 0.5 * torch.randn(n, 1)).float(), label)


@pytest.fixture(scope="module")
def knowing() -> GuidedDiffusion:
    """The exact denoiser of the mixture, which is not told the class, and a classifier that has learned it."""
    model = adm(BELLS)
    model.low.fill_(-4.0)
    model.high.fill_(4.0)
    assert isinstance(model.classifier, NoisyClassifier)
    optimizer = model.rate(model.classifier.parameters())
    for group in optimizer.param_groups:
        group["lr"] = 3e-3
    with seeded("bells"):
        for _ in range(500):
            optimizer.zero_grad()
            model.classifier_loss(bells(256))["cross_entropy"].backward()
            optimizer.step()
    path = model.path

    def denoise(x: Tensor, t: Tensor, label: Tensor | None = None, attributes: Tensor | None = None) -> Prediction:
        data, noise, _ = mixture(path, x.double(), t.double(), label=None, attributes=None)
        return Prediction(data.float(), noise.float())

    model.denoise = denoise  # type: ignore[method-assign,assignment]
    return model


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.kind}{spec.size}")
def test_it_takes_every_kind(spec: DataSpec) -> None:
    model = rough(adm(spec), 0.03)
    for stage in model.stages():
        for player in stage.players():
            assert torch.stack(list(player.loss(some(spec)).values())).isfinite().all()
    options: dict[str, Any] = {"label": "b", "classifier_guidance": 2.0, "guidance": 1.0} if spec.classes else {}
    samples = model.sample(3, seed=1, steps=3, **options)
    assert samples.shape == (3, *spec.shape)
    assert samples.isfinite().all()


def test_the_number_of_a_level_is_exact_and_one_below_it() -> None:
    index = torch.arange(1, 1001)
    assert torch.equal(number_of(index.float() / 1000, 1000), index.float() - 1)
    torch.testing.assert_close(number_of(torch.tensor([0.5005]), 1000), torch.tensor([499.5]))  # between two levels


def test_the_classifier_names_clean_and_noisy_examples_as_the_mixture_does(knowing: GuidedDiffusion) -> None:
    with seeded("judged"):
        x, noise = bells(1000).x, torch.randn(1000, 1)
    for time in (0.001, 0.3, 0.6, 0.9):
        t = torch.full((1000,), time)
        noisy = knowing.noisy(x, noise, t[:, None])
        right = responsibilities(knowing.path, noisy, t)[:, 0].exp()
        assert (knowing._log_classes(noisy, t)[:, 0].exp() - right).abs().mean() < 0.05
    odds = (SHARES.log() - (x - MEANS).square() / (2 * 0.25)).argmax(dim=1)
    assert (knowing.classify(x).argmax(dim=1) == odds).double().mean() > 0.97
    assert knowing.capabilities.count("classify") == 1


def test_its_guidance_draws_the_class_and_more_of_it_with_strength(knowing: GuidedDiffusion) -> None:
    shares, means = [], []
    for strength in (0.0, 1.0, 4.0):
        x = knowing.sample(400, seed=0, label=["left"], classifier_guidance=strength, solver="ddim", steps=40)
        shares.append((x < 0.5).double().mean().item())
        means.append(x.mean().item())
    assert shares[0] == pytest.approx(0.3, abs=0.08)  # the denoiser does not know what is asked
    assert shares[1] > 0.9  # strength 1 aims at p(x | class), of which 0.999 lies there
    assert means[1] == pytest.approx(-1.0, abs=0.25)
    assert shares[2] >= shares[1]
    assert means[2] < means[1]


def test_the_gradient_is_found_without_gradients_and_not_through_the_box(knowing: GuidedDiffusion) -> None:
    x, t, asked = torch.tensor([[0.4]]), torch.tensor([0.5]), Conditions(label=torch.tensor([0]))
    point = x.clone().requires_grad_()
    assert knowing.classifier is not None
    logits: Tensor = knowing.classifier(point, t).log_softmax(dim=1)
    (slope,) = torch.autograd.grad(logits[0, 0], point)
    with torch.no_grad():
        guided = knowing.denoiser(asked, classifier_guidance=2.0, threshold="none")(x, t)
        free = knowing.denoiser(asked, threshold="none")(x, t)
        kept = knowing.denoiser(asked, classifier_guidance=50.0)(x, t)
        unknown = knowing.denoiser(Conditions(label=torch.tensor([-1])), classifier_guidance=2.0, threshold="none")(
            x, t
        )
    sigma = knowing.path(t)[1]
    torch.testing.assert_close(guided.noise, free.noise - 2 * sigma * slope, check_dtype=False)
    torch.testing.assert_close(unknown.noise, free.noise, check_dtype=False)
    assert kept.data.abs().max() <= 4
    alpha = knowing.path(t)[0]
    torch.testing.assert_close((alpha * kept.data + sigma * kept.noise).float(), x)  # they still add up


class Snapshots(Hook):
    def __init__(self) -> None:
        self.stages: list[dict[str, Tensor]] = []

    def stage(self, trainer: Trainer) -> None:
        self.stages.append({name: weight.detach().clone() for name, weight in trainer.model.named_parameters()})


def test_each_stage_moves_its_own_network_and_is_validated_by_its_own_loss() -> None:
    data = load_data("digits")
    model, seen = create("adm", data, width=8, classifier=0.5), Snapshots()
    assert isinstance(model, GuidedDiffusion)
    model.batch = 8
    start = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    Trainer(model, data, Budget(steps=8), hooks=[seen]).run()
    for before, after, mine in zip([start, *seen.stages], seen.stages, ("network.", "classifier."), strict=False):
        moved = {name for name in after if not torch.equal(before[name], after[name])}
        assert moved
        assert all(name.startswith(mine) for name in moved)
    batch = data.split("validation").first(8)
    with seeded("same"):
        figure = model.validate(batch)["loss"]
    with seeded("same"):
        assert torch.equal(figure, model.classifier_loss(batch)["cross_entropy"].detach())


def test_examples_of_unknown_class_teach_the_classifier_nothing() -> None:
    model = rough(adm(IMAGE), 0.1)
    x, label = some(IMAGE, 4).x, torch.tensor([0, -1, 2, -1])
    losses = []
    for other in (x, torch.cat([x[:1], -x[1:2], x[2:3], -x[3:]])):
        with seeded("same"):
            losses.append(model.classifier_loss(Batch(other, label))["cross_entropy"])
    assert torch.equal(*losses)
    assert model.classifier_loss(Batch(x, torch.full((4,), -1)))["cross_entropy"] == 0


@pytest.mark.parametrize(("spec", "options", "why"), [(VECTOR, {}, "without labels"), (IMAGE, {"classifier": 0}, "=0")])
def test_without_labels_or_a_classifier_it_says_what_guidance_needs(spec: DataSpec, options: Any, why: str) -> None:
    model = adm(spec, **options)
    assert len(list(model.stages())) == 1
    assert model.sample(2, seed=0, steps=2).isfinite().all()
    with pytest.raises(OptionError, match=f"classifier_guidance needs a classifier.*{why}"):
        model.sample(2, seed=0, classifier_guidance=1.0)
    assert "classify" not in model.capabilities
    with pytest.raises(Unsupported, match="adm cannot classify"):
        model.classify(torch.zeros(2, *spec.shape))


def test_pictures_are_told_their_attributes() -> None:
    spec = replace(IMAGE, attributes=(Attribute("smile", "yes/no"),))
    model = rough(adm(spec), 0.1)
    x, t = torch.randn(2, *spec.shape), torch.full((2,), 0.3)
    yes, no, unknown = (
        model.denoise(x, t, label=torch.tensor([0, 1]), attributes=facts).data
        for facts in (torch.ones(2, 1), torch.zeros(2, 1), None)
    )
    assert not torch.allclose(yes, no)
    assert not torch.allclose(yes, unknown)
