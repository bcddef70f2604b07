from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from exnihilo.core import (
    Attribute,
    Batch,
    Column,
    DataSpec,
    GenerativeModel,
    Noise,
    OptionError,
    Prediction,
    create,
    seeded,
)
from exnihilo.models.diffusion import ContinuousDiffusion, DenoisingDiffusion
from exnihilo.models.diffusion.bound import diffusion_bound, level_log_prob
from exnihilo.models.diffusion.guidance import classifier_free, clipped
from exnihilo.models.diffusion.predictions import (
    PredictionType,
    predict_data,
    predict_noise,
    predict_score,
    predict_velocity,
)
from exnihilo.models.diffusion.times import discrete, logit_normal, stratified
from exnihilo.probability.grids import time_grid
from exnihilo.probability.paths import Cosine, Path, Straight
from exnihilo.probability.schedules import Discrete, cosine_betas, linear_betas
from exnihilo.probability.solvers import Heun, solve
from tests.probability.gaussian import exact_denoiser

NAMES = ("ddpm", "flow_matching")
CLASSES = dict(classes=3, class_names=("a", "b", "c"), class_shares=(0.5, 0.3, 0.2))
IMAGE = DataSpec("image", (1, 9, 7), levels=17, examples=100, **CLASSES)  # type: ignore[arg-type]
LARGE = DataSpec("image", (3, 25, 24), levels=256, examples=100)
VECTOR = DataSpec("vector", (2,), examples=100)
BITS = DataSpec("vector", (5,), levels=2, examples=100)
TABLE = DataSpec(
    "table", (6,), examples=100,
    columns=(
        Column("age", "number", 0, step=1.0, scale=10.0), Column("kind", "category", 1, 3, categories=("x", "y", "z")),
        Column("size", "number", 4, 2, missing=True),
    ),
    attributes=(Attribute("smile", "yes/no"), Attribute("height", "number")),
)  # fmt: skip
SPECS = [IMAGE, LARGE, VECTOR, BITS, TABLE]


class OneSplit:
    """Just enough data for a stage's `enter`."""

    def __init__(self, x: Tensor):
        self.x = x

    def first(self, n: int | None = None) -> Batch:
        return Batch(self.x[:n])

    def spread(self, n: int) -> Batch:
        return Batch(self.x[:n])


def rough(model: GenerativeModel, scale: float = 0.1) -> GenerativeModel:
    """Weights at random, for the untrained answer is zero."""
    with seeded("rough"):
        for weight in model.parameters():
            nn.init.normal_(weight, std=scale)
    return model.eval()


def some(spec: DataSpec, n: int = 6) -> Batch:
    x = spec.quantise(torch.rand(n, *spec.shape) * 2 - 1)
    attributes = torch.tensor([[1.0, math.nan]]).expand(n, 2) if spec.attributes else None
    return Batch(x, torch.arange(n) % 3 if spec.classes else None, attributes)


def fit(model: GenerativeModel, batch: Batch, steps: int) -> None:
    model.train()
    optimizer = model.optimizer(model.parameters())
    with seeded("fit"):
        for _ in range(steps):
            optimizer.zero_grad()
            torch.stack(list(model.loss(batch).values())).sum().backward()
            optimizer.step()
    model.eval()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.kind}{spec.size}")
def test_recipes_take_every_kind_and_their_noise_belongs_to_the_sample(name: str, spec: DataSpec) -> None:
    model = rough(create(name, spec, width=8))
    terms = model.loss(some(spec))
    assert torch.stack(list(terms.values())).isfinite().all()
    assert set(model.validate(some(spec))) == {"loss"}
    options: dict[str, Any] = {"label": "b", "guidance": 1.5} if spec.classes else {}
    samples = model.sample(5, seed=1, steps=3, **options)
    assert samples.shape == (5, *spec.shape)
    assert samples.isfinite().all()
    torch.testing.assert_close(model.sample(2, seed=1, steps=3, **options), samples[:2], rtol=1e-3, atol=1e-3)
    model.chunk = 2
    torch.testing.assert_close(model.sample(5, seed=1, steps=3, **options), samples, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("solver", ["ddim", "ancestral", "ancestral_large", "dpmpp_2m", "unipc", "plms", "churn", "pc"])
def test_pictures_stay_in_their_range(solver: str) -> None:
    samples = rough(create("ddpm", IMAGE, width=8)).sample(4, seed=0, steps=4, solver=solver)
    assert samples.abs().max() <= 1 + 1e-5


def test_the_untrained_network_predicts_nothing_so_the_loss_is_the_power_of_the_target() -> None:
    batch = some(IMAGE, 500)
    with seeded("loss"):
        assert create("ddpm", IMAGE, width=8).loss(batch)["squared_error"].item() == pytest.approx(1, abs=0.02)
        power = 1 + batch.x.square().mean().item()
        assert create("flow_matching", IMAGE, width=8).loss(batch)["squared_error"].item() == pytest.approx(
            power, rel=0.02
        )


@pytest.mark.parametrize("name", NAMES)
def test_what_was_learned_is_what_is_drawn(name: str) -> None:
    x = torch.tensor([1.0, -0.5]) + torch.tensor([0.3, 0.6]) * Noise(0, 1024).normal(2)
    model = create(name, VECTOR, width=8)
    if isinstance(model, DenoisingDiffusion):
        (stage,) = model.stages()
        assert stage.enter is not None
        stage.enter(OneSplit(x))  # type: ignore[arg-type]
        assert torch.equal(model.high, x.amax(dim=0))
    fit(model, Batch(x), 150)
    samples = model.sample(1000, seed=0)
    torch.testing.assert_close(samples.mean(dim=0), x.mean(dim=0), rtol=0, atol=0.12)
    torch.testing.assert_close(samples.std(dim=0), x.std(dim=0), rtol=0.25, atol=0)


@pytest.mark.parametrize("path", [Straight(), Cosine(), Discrete(linear_betas()), Discrete(cosine_betas())])
@pytest.mark.parametrize("kind", [predict_noise, predict_data, predict_velocity, predict_score])
def test_every_answer_tells_data_and_noise(kind: PredictionType, path: Path) -> None:
    t = torch.linspace(0.01, 0.99, 50, dtype=torch.float64)[:, None]
    data, noise = Noise(0, 50).normal(3, dtype=torch.float64), Noise(1, 50).normal(3, dtype=torch.float64)
    alpha, sigma = path(t)
    x = alpha * data + sigma * noise
    answer = kind.target(data, noise, path, t)
    found = kind.read(answer, x, path, t)
    torch.testing.assert_close(found.data, data, rtol=0, atol=1e-8)
    torch.testing.assert_close(found.noise, noise, rtol=0, atol=1e-8)
    wrong = kind.read(answer + 0.3, x, path, t)
    torch.testing.assert_close(alpha * wrong.data + sigma * wrong.noise, x, rtol=0, atol=1e-8)
    for end in (torch.zeros(1, 1), torch.ones(1, 1)):
        assert all(part.isfinite().all() for part in kind.read(torch.ones(1, 3), torch.ones(1, 3), path, end)[:2])


def test_times_cover_what_they_should() -> None:
    device = torch.device("cpu")
    with seeded("times"):
        index = discrete(1000)(4000, device) * 1000
        assert torch.equal(index.round().long().bincount(), torch.tensor([0] + [4] * 1000))  # 1 ... T, never 0
        assert (stratified(8, device).sort().values * 8).floor().tolist() == list(range(8))
        middle = logit_normal()(4000, device)
    quartiles = torch.tensor([1.0, 2.0, 3.0]) / 4
    torch.testing.assert_close(
        middle.quantile(quartiles), torch.special.ndtri(quartiles).sigmoid(), rtol=0, atol=5e-3
    )  # fmt: skip
    first = torch.stack([stratified(4, device)[0] for _ in range(2000)])  # each alone is uniform
    assert first.mean().item() == pytest.approx(0.5, abs=0.03)


def test_a_network_hears_the_trained_times_after_respacing() -> None:
    model, heard = create("ddpm", VECTOR, width=8), []
    model.network.register_forward_pre_hook(lambda module, given: heard.append(given[1][0].item() * 1000))  # type: ignore[union-attr,operator,func-returns-value]
    model.sample(1, seed=0, steps=4, solver="ddim")
    assert heard == pytest.approx([1000, 750, 500, 250], abs=1e-3)


def test_conditions_are_hidden_from_some_examples_each_for_itself() -> None:
    model = create("flow_matching", DataSpec("vector", (2,), attributes=TABLE.attributes, **CLASSES), width=8)  # type: ignore[arg-type]
    assert isinstance(model, ContinuousDiffusion)
    batch = Batch(torch.zeros(5000, 2), torch.ones(5000, dtype=torch.long), torch.ones(5000, 2))
    with seeded("hide"):
        label, attributes = model.hidden(batch)
    assert label is not None
    assert attributes is not None
    assert set(label.tolist()) == {-1, 1}
    assert (label == -1).float().mean().item() == pytest.approx(0.1, abs=0.015)
    assert torch.equal(attributes.isnan().all(dim=1), label == -1)


# -- guidance and clipping ---------------------------------------------------------------------------------------


def two_bells(x: Tensor, t: Tensor, *, label: Tensor | None, attributes: Tensor | None) -> Prediction:
    """The class is N(2, 0.25), everything N(1, 0.25), on the straight path."""
    mean = torch.ones(len(x), 1) if label is None else torch.where(label[:, None] >= 0, 2.0, 1.0)
    return exact_denoiser(Straight(), mean.to(x), 0.25)(x, t)  # type: ignore[arg-type]


def test_guidance_moves_a_gaussian_exactly_as_far_as_it_should() -> None:
    n, label = 500, torch.zeros(500, dtype=torch.long)
    x = Noise(0, n).normal(1, dtype=torch.float64)
    for strength in (0.0, 1.0, 2.0):
        denoise = classifier_free(two_bells, strength, label, None)
        samples = solve(Heun(), denoise, Straight(), x, time_grid(100), Noise(0))
        exact = 1 + (1 + strength) + 0.5 * x
        torch.testing.assert_close(samples, exact, rtol=0, atol=2e-3)


def test_no_guidance_is_the_conditional_model() -> None:
    model = rough(create("flow_matching", IMAGE, width=8), 0.2)
    x, t, label = torch.randn(3, *IMAGE.shape), torch.full((3,), 0.4), torch.tensor([0, 1, 2])
    given, free = model.denoise(x, t, label=label), model.denoise(x, t)
    assert (given.data - free.data).abs().max() > 1e-3
    plain = classifier_free(model.denoise, 0.0, label, None)(x, t)
    strong = classifier_free(model.denoise, 3.0, label, None)(x, t)
    assert torch.equal(plain.data, given.data)
    torch.testing.assert_close(strong.data, given.data + 3 * (given.data - free.data), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(strong.noise, given.noise + 3 * (given.noise - free.noise), rtol=1e-3, atol=1e-3)


def test_clipping_derives_the_noise_anew() -> None:
    path, low, high = Discrete(linear_betas()), torch.tensor([-1.0, -0.2]), torch.tensor([1.0, 0.3])
    x, t = 3 * torch.randn(50, 2), torch.rand(50) * 0.9 + 0.1
    clean = clipped(exact_denoiser(path, 0.0, 4.0), path, low, high)(x, t)
    alpha, sigma = path(t[:, None])
    torch.testing.assert_close(alpha * clean.data + sigma * clean.noise, x, rtol=1e-5, atol=1e-5)
    assert (clean.data >= low).all()
    assert (clean.data <= high).all()
    unbounded = clipped(exact_denoiser(path, 0.0, 4.0), path, low - 1e6, high + 1e6)(x, t)
    torch.testing.assert_close(unbounded.noise, exact_denoiser(path, 0.0, 4.0)(x, t).noise, rtol=1e-3, atol=1e-3)


# -- the bound ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scale", "levels"), [(0.3, 17), (0.01, 256), (1e-3, 17), (5.0, 2)])
def test_masses_of_the_levels_sum_to_one(scale: float, levels: int) -> None:
    spec = DataSpec("image", (1, 1, 1), levels=levels)
    values = spec.from_levels(torch.arange(levels))[:, None, None, None].double()
    for mean in (-2.0, -1.0, 0.013, 0.99):
        masses = level_log_prob(values, torch.full_like(values, mean), scale, spec)
        assert masses.isfinite().all()
        assert masses.exp().sum().item() == pytest.approx(1, abs=1e-12)


def test_the_bound_of_gaussian_data_is_its_closed_form() -> None:
    path, n, mean, d = Discrete(linear_betas(100)), 20000, 0.5, 0.25
    x = mean + math.sqrt(d) * Noise(7, n).normal(2, dtype=torch.float64)
    denoise = exact_denoiser(path, mean, d)
    bound = diffusion_bound(denoise, path, x, Noise(0, n), 8, None)
    signal = path.signal
    ratio = signal / (1 - signal)
    middle = 0.5 * ((ratio[1:-1] - ratio[2:]) * d / (1 + ratio[2:] * d)).sum()  # a Riemann sum over the levels
    prior = 0.5 * (signal[-1] * (d + mean**2) - signal[-1] - (1 - signal[-1]).log())
    decoder = 0.5 * (2 * math.pi * (1 - signal[1])).log() + 0.5 * d / (signal[1] * d + 1 - signal[1])
    exact = -2 * float(middle + prior + decoder)
    assert bound.mean().item() == pytest.approx(exact, abs=5 * bound.std().item() / math.sqrt(n))
    assert bound.std().item() / math.sqrt(n) < 0.04
    entropy = math.log(2 * math.pi * math.e * d)  # of two entries
    assert exact < -entropy


def test_more_levels_make_the_bound_more_exact_and_nothing_else() -> None:
    x, path = some(BITS, 400).x, Discrete(linear_betas())
    model = rough(create("ddpm", BITS, width=8))
    with torch.no_grad():
        few, many = model.log_prob_bound(x, k=1), model.log_prob_bound(x, k=16)
        assert torch.equal(model.log_prob_bound(x, k=1), few)  # a function of the seed
    assert path.steps == 1000
    assert few.std() > many.std()
    assert few.mean().item() == pytest.approx(many.mean().item(), abs=5 * few.std().item() / 20)


def test_a_table_has_a_density_and_levels_a_mass() -> None:
    assert create("ddpm", BITS, width=8).mass
    assert not create("ddpm", TABLE, width=8).mass
    model, batch = create("ddpm", TABLE, width=8), some(TABLE, 200)
    (stage,) = model.stages()
    assert stage.enter is not None
    stage.enter(OneSplit(batch.x))  # type: ignore[arg-type]
    assert isinstance(model, DenoisingDiffusion)
    assert model.low[1].item() == -0.5  # a category spread over its step
    assert model.log_prob_bound(TABLE.dequantise(batch.x)[0], k=2).shape == (200,)


# -- codes -------------------------------------------------------------------------------------------------------


def test_codes_lead_back_to_the_examples() -> None:
    model, x = rough(create("flow_matching", IMAGE, width=8), 0.15), some(IMAGE).x
    with torch.no_grad():
        code = model.encode(x)
        assert (code - x).abs().max() > 0.1
        torch.testing.assert_close(model.decode(code), x, rtol=0, atol=1e-2)


def test_a_flow_sampled_by_its_own_decoder() -> None:
    model = rough(create("flow_matching", VECTOR, width=8))
    with torch.no_grad():
        decoded = model.decode(Noise(3, 4).normal(2))
    samples = model.sample(4, seed=3, steps=101, solver="heun", spacing="log_snr", threshold="none")
    torch.testing.assert_close(samples, decoded, rtol=1e-4, atol=1e-4)


def test_a_flow_codes_and_decodes_by_class() -> None:
    model = rough(create("flow_matching", DataSpec("vector", (2,), **CLASSES), width=8))  # type: ignore[arg-type]
    z, one = Noise(3, 4).normal(2), torch.ones(4, dtype=torch.int64)
    with torch.no_grad():
        decoded = model.decode(z, label=one)
        samples = model.sample(4, seed=3, steps=101, solver="heun", spacing="log_snr", threshold="none", label=1)
        torch.testing.assert_close(samples, decoded, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(model.encode(decoded, label=one), z, rtol=0, atol=1e-2)
        assert (model.decode(z) - decoded).abs().max() > 1e-3


def test_capabilities() -> None:
    codes = {"sample", "encode", "decode", "reconstruct", "denoise", "impute"}
    assert set(create("ddpm", VECTOR, width=8).capabilities) == codes | {"log_prob_bound", "score"}
    flow = create("flow_matching", VECTOR, width=8)
    assert set(flow.capabilities) == codes | {"log_prob", "log_prob_bound", "energy", "score"}
    assert set(create("flow_matching", IMAGE, width=8).capabilities) == codes | {"score"}
    with pytest.raises(OptionError, match="heun, euler"):
        flow.sample(1, solver="heunn")


def test_the_cosine_table_survives_its_vanishing_signal() -> None:
    model = rough(create("ddpm", VECTOR, width=8, schedule="cosine"))
    (stage,) = model.stages()
    assert stage.enter is not None
    stage.enter(OneSplit(torch.tensor([[-2.0, 0.0], [2.0, 1.0]])))  # type: ignore[arg-type]
    for solver in ("ddim", "ancestral"):
        assert model.sample(20, seed=0, steps=10, solver=solver).abs().max() <= 2 + 1e-4


def test_what_is_missing_is_drawn_beside_what_is_known() -> None:
    x = torch.tensor([1.0, -0.5]) + torch.tensor([0.3, 0.6]) * Noise(0, 1024).normal(2)
    x[:, 1] = x[:, 0] - 1.5 + 0.1 * Noise(1, 1024).normal(1)[:, 0]
    model = create("flow_matching", VECTOR, width=8)
    (stage,) = model.stages()
    assert stage.enter is not None
    stage.enter(OneSplit(x))  # type: ignore[arg-type]
    fit(model, Batch(x), 250)
    mask = torch.tensor([True, False]).expand(400, 2)
    filled = model.impute(x[:400], mask, seed=0)
    assert torch.equal(filled[:, 0], x[:400, 0])
    assert torch.equal(model.impute(x[:400], mask, seed=0), filled)
    error = (filled[:, 1] - (x[:400, 0] - 1.5)).square().mean().sqrt()
    assert error < 0.2  # 0.32 is what the other entry's own spread would leave
