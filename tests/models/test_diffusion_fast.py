"""Straight flows, distilled students and consistency models: what must hold exactly, and one small training each."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from exnihilo.core import Batch, DataSpec, Noise, OptionError, Stage, create, seeded
from exnihilo.models.diffusion.distilled import Consistency, ProgressiveDistillation, boundary
from exnihilo.models.diffusion.family import Diffusion
from exnihilo.models.diffusion.predictions import preconditioned
from exnihilo.models.diffusion.reflow import RectifiedFlow
from exnihilo.models.diffusion.times import log_normal
from exnihilo.probability.paths import Cosine, Plain
from exnihilo.probability.solvers import DDIM
from tests.probability.gaussian import exact_denoiser

VECTOR = DataSpec("vector", (2,))
BOX = (torch.full((2,), -math.inf), torch.full((2,), math.inf))


class Rows:
    """Rows as a stage's `enter` sees them."""

    def __init__(self, x: Tensor):
        self.x = x

    def first(self, n: int | None = None) -> Batch:
        return Batch(self.x[:n])

    def spread(self, n: int) -> Batch:
        return Batch(self.x[:n])


def train(model: Diffusion, stage: Stage, x: Tensor, steps: int) -> None:
    """One stage, as the trainer does it, without its averages."""
    if stage.enter is not None:
        stage.enter(Rows(x))  # type: ignore[arg-type]
    (player,) = stage.players()
    model.train()
    optimizer = model.optimizer(player.module.parameters())
    with seeded("train", stage.name):
        for step in range(steps):
            model.progress = step / steps
            batch = Batch(x[torch.randint(len(x), (128,))])
            optimizer.zero_grad()
            terms = player.loss(batch)
            torch.stack(list(terms.values())).sum().backward()
            optimizer.step()
            if player.after is not None:
                player.after(terms)
    model.eval()


def two_bells() -> Tensor:
    side = torch.where(torch.arange(1024)[:, None] % 2 == 0, 1.5, -1.5)
    return side + 0.3 * Noise(0, 1024).normal(2)


# -- rectified flow ----------------------------------------------------------------------------------------------


def straightness(model: RectifiedFlow) -> float:
    """E |(x_1 - x_0) - dx/dt|^2 along the flow: 0 where paths are straight."""
    z, bend = Noise(9, 500).normal(2), 0.0
    with torch.no_grad():
        start = model.sample(500, seed=9, solver="heun", spacing="time", steps=50, threshold="none")
        for t in (0.2, 0.5, 0.8):
            x = (1 - t) * start + t * z
            prediction = model.denoise(x, torch.full((500,), t))
            bend += float(((z - start) - (prediction.noise - prediction.data)).square().mean())
    return bend


def test_the_second_flow_is_straighter_and_needs_one_step() -> None:
    model, x = create("rectified_flow", VECTOR, width=8, pairs=1024), two_bells()
    assert isinstance(model, RectifiedFlow)
    first, second = model.stages()
    train(model, first, x, 400)
    bent, one = straightness(model), model.sample(1000, seed=1, solver="euler", steps=1)
    assert one.std() < 0.6 * x.std()  # a single step of the first flow shows the mean
    train(model, second, x, 400)
    assert straightness(model) < 0.5 * bent
    one = model.sample(1000, seed=1, solver="euler", steps=1)
    torch.testing.assert_close(one.std(dim=0), x.std(dim=0), rtol=0.2, atol=0)
    assert (one.abs() > 0.7).float().mean() > 0.8  # in one of the bells


def test_without_reflow_there_is_one_stage_and_pairs_belong_to_their_classes() -> None:
    spec = DataSpec("vector", (2,), classes=2, class_names=("a", "b"), class_shares=(0.25, 0.75))
    model = create("rectified_flow", spec, width=8, pairs=400, reflow=0.0)
    assert len(list(model.stages())) == 1
    again = create("rectified_flow", spec, width=8, pairs=400)
    assert isinstance(again, RectifiedFlow)
    (_, stage) = again.stages()
    assert stage.enter is not None
    again.eval()
    stage.enter(Rows(two_bells()))  # type: ignore[arg-type]
    assert again.pair_label.float().mean().item() == pytest.approx(0.75, abs=0.08)


# -- progressive distillation ------------------------------------------------------------------------------------


class Gaussian(nn.Module):
    """The network that is right for N(0, 0.25) data: v = alpha noise - sigma data."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None, attributes: Tensor | None = None) -> Tensor:
        path = Cosine()
        prediction, (alpha, sigma) = exact_denoiser(path, 0.0, 0.25)(x, t), path(t[:, None])
        return self.gain * (alpha * prediction.noise - sigma * prediction.data)


def test_one_step_to_the_target_is_two_steps_of_the_teacher() -> None:
    path = Cosine()
    denoise, x = exact_denoiser(path, 0.0, 0.25), Noise(0, 5).normal(2, dtype=torch.float64)
    t, half, later = 0.75, 0.625, 0.5
    end = DDIM().step(denoise, path, DDIM().step(denoise, path, x, t, half, Noise(0, 5)), half, later, Noise(0, 5))
    (alpha, sigma), (alpha_end, sigma_end) = (path(torch.tensor(time, dtype=torch.float64)) for time in (t, later))
    ratio = sigma_end / sigma
    target = (end - ratio * x) / (alpha_end - ratio * alpha)
    once = alpha_end * target + sigma_end * (x - alpha * target) / sigma
    torch.testing.assert_close(once, end, rtol=0, atol=1e-10)


def test_a_student_has_the_steps_of_its_stage_and_the_teacher_rests() -> None:
    model = create("progressive_distillation", VECTOR, width=8, first=8, last=2)
    assert isinstance(model, ProgressiveDistillation)
    stages = list(model.stages())
    assert [stage.name for stage in stages] == ["teacher", "8 steps", "4 steps", "2 steps"]
    assert sum(stage.share for stage in stages) == pytest.approx(1)
    train(model, stages[0], two_bells(), 20)
    for stage, steps in zip(stages[1:], (8, 4, 2), strict=True):
        train(model, stage, two_bells(), 3)
        assert int(model.student_steps) == steps
        assert all(weight.grad is None for weight in model.teacher.parameters())
    asked: list[float] = []
    model.network.register_forward_pre_hook(lambda module, given: asked.append(float(given[1][0])))  # type: ignore[union-attr,operator]
    model.sample(3, seed=0)
    assert asked == [1.0, 0.5]


def test_students_arrive_where_the_teacher_does() -> None:
    model, x = create("progressive_distillation", VECTOR, width=8, first=8, last=1, share=0.6), two_bells()
    assert isinstance(model, ProgressiveDistillation)
    teacher, *students = model.stages()
    train(model, teacher, x, 500)
    before = model.sample(1000, seed=1, steps=1)
    slow = model.sample(1000, seed=1, steps=16)
    for stage in students:
        train(model, stage, x, 250)
    fast = model.sample(1000, seed=1)
    assert (fast - slow).square().mean() < 0.35 * (before - slow).square().mean()


def test_powers_of_two() -> None:
    for options in ({"first": 12}, {"last": 3}, {"first": 4, "last": 8}):
        with pytest.raises(OptionError, match=r"power of two|above"):
            create("progressive_distillation", VECTOR, **options)


# -- consistency -------------------------------------------------------------------------------------------------


def test_the_answer_at_the_smallest_noise_is_the_example() -> None:
    path, kind = Plain(), boundary(0.5, 0.002)
    x, t = Noise(0, 4).normal(3, dtype=torch.float64), torch.full((4, 1), path.least, dtype=torch.float64)
    torch.testing.assert_close(kind.read(5 * torch.ones_like(x), x, path, t).data, x, rtol=0, atol=1e-9)
    data, noise = Noise(1, 4).normal(3, dtype=torch.float64), Noise(2, 4).normal(3, dtype=torch.float64)
    for time in (0.01, 0.5, 1.0):
        t = torch.full((4, 1), time, dtype=torch.float64)
        noisy = data + path(t)[1] * noise
        found = kind.read(kind.target(data, noise, path, t), noisy, path, t)
        torch.testing.assert_close(found.data, data, rtol=0, atol=1e-8)
    far = torch.full((1, 1), 0.5, dtype=torch.float64)
    one, other = (part.slope(path, far) for part in (kind, preconditioned(0.5)))
    torch.testing.assert_close(one, other, rtol=1e-3, atol=0)


class ExactConsistency(nn.Module):
    """The answer with which boundary(1, e) gives mu + sqrt((d + e^2) / (d + s^2)) (x - mu), of N(0.3, 0.25) data."""

    def __init__(self, path: Plain):
        super().__init__()
        self.path, self.kind = path, boundary(1.0, path.low)

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None, attributes: Tensor | None = None) -> Tensor:
        time = self.path.least * (-t * 0 + 1) * (1 / self.path.least) ** t  # the clock is log-linear
        sigma = self.path(time[:, None])[1]
        x = x * (sigma.square() + 1).sqrt()  # seen scaled
        data = 0.3 + ((0.25 + self.path.low**2) / (0.25 + sigma.square())).sqrt() * (x - 0.3)
        return self.kind.target(data, (x - data) / sigma, self.path, time[:, None])


def exact_student(teacher: bool) -> Consistency:
    path = Plain()
    model = Consistency(
        ExactConsistency(path), path, boundary(1.0, path.low), log_normal(), teacher=None, coarse=40, fine=40, box=BOX
    )
    if teacher:
        model.teacher = Diffusion(nn.Identity(), path, preconditioned(1.0), log_normal(), box=BOX)
        model.teacher.denoise = (  # type: ignore[method-assign]
            lambda x, t, label=None, attributes=None: exact_denoiser(path, 0.3, 0.25)(x, t)
        )
    return model


def test_the_exact_function_is_consistent_along_the_teachers_flow() -> None:
    x = 0.3 + 0.5 * Noise(0, 400).normal(2)
    with seeded("loss"):
        distilled = float(exact_student(teacher=True).loss(Batch(x))["distance"])
        scratch = float(exact_student(teacher=False).loss(Batch(x))["distance"])
    assert distilled < 0.05 * scratch  # only Heun's error; from scratch neighbours differ by chance


def test_levels_double_as_the_training_goes_on() -> None:
    model = create("consistency", VECTOR, width=8, coarse=10, fine=80)
    assert isinstance(model, Consistency)
    seen = []
    for progress in (0.0, 0.3, 0.6, 0.99):
        model.progress = progress
        levels = model.noise_levels()
        seen.append(len(levels) - 1)
        assert levels[0].item() == pytest.approx(model.path.least, rel=1e-5)
        assert levels[-1].item() == pytest.approx(1)
        assert (levels.diff() > 0).all()
    assert seen == [10, 20, 40, 80]


@pytest.mark.parametrize("method", ["training", "distillation"])
def test_one_jump_reaches_the_data(method: str) -> None:
    model, x = create("consistency", VECTOR, width=8, method=method, coarse=10, fine=40), two_bells()
    assert isinstance(model, Consistency)
    for stage in model.stages():
        train(model, stage, x, 600)
    for steps in (1, 2):
        samples = model.sample(1000, seed=1, steps=steps)
        torch.testing.assert_close(samples.mean(dim=0), x.mean(dim=0), rtol=0, atol=0.35)
        torch.testing.assert_close(samples.std(dim=0), x.std(dim=0), rtol=0.35, atol=0)
    assert model.sample(3, seed=0).shape == (3, 2)
    with pytest.raises(OptionError, match="below coarse"):
        create("consistency", VECTOR, coarse=20, fine=10)
