from __future__ import annotations

import math

import pytest
import torch

from exnihilo.core import DataSpec, Noise
from exnihilo.data import load_data
from exnihilo.evaluation.restoration import Realism, psnr, ssim, window_of

GREY = DataSpec("image", (1, 24, 20), levels=256)
COLOUR = DataSpec("image", (3, 16, 16), levels=256)
SMALL = DataSpec("image", (1, 8, 8), levels=17)


def pair(spec: DataSpec, n: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    truth = spec.quantise((0.5 * Noise(0, n).normal(*spec.shape)).clamp(-1, 1))
    return spec.quantise((truth + 0.2 * Noise(1, n).normal(*spec.shape)).clamp(-1, 1)), truth


def test_one_level_everywhere_is_the_known_number_of_decibels() -> None:
    truth = torch.zeros(2, 1, 24, 20)
    assert psnr(GREY, truth + GREY.step, truth).tolist() == pytest.approx([48.1308, 48.1308], abs=1e-3)
    equal = psnr(GREY, truth, truth)
    assert equal.tolist() == pytest.approx(
        [48.1308 + 10 * math.log10(480)] * 2, abs=1e-3
    )  # as one entry off by a level
    one = truth.clone()
    one[:, :, 3, 4] += GREY.step
    torch.testing.assert_close(psnr(GREY, one, truth), equal, rtol=0, atol=1e-3)


def test_constant_pictures_have_the_similarity_of_their_means() -> None:
    a, b = 0.5, -0.25
    c1 = (0.01 * 2) ** 2
    expected = (2 * a * b + c1) / (a**2 + b**2 + c1)
    found = ssim(GREY, torch.full((1, 1, 24, 20), a), torch.full((1, 1, 24, 20), b))
    assert found.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("spec", [GREY, COLOUR], ids=["grey", "colour"])
def test_both_agree_with_torchmetrics(spec: DataSpec) -> None:
    metrics = pytest.importorskip("torchmetrics.functional.image")
    x, truth = pair(spec)
    for place in range(len(x)):
        one, other = x[place : place + 1].double(), truth[place : place + 1].double()
        expected = metrics.peak_signal_noise_ratio(one, other, data_range=2.0)
        assert psnr(spec, one, other).item() == pytest.approx(expected.item(), abs=1e-4)
        # theirs averages over a border that looks beyond the picture, so the inside is compared
        _, full = metrics.structural_similarity_index_measure(
            one, other, gaussian_kernel=True, sigma=1.5, kernel_size=11, data_range=2.0, return_full_image=True
        )
        inside = full[..., 5:-5, 5:-5].mean() if full.shape[-2:] == one.shape[-2:] else full.mean()
        assert ssim(spec, one, other).item() == pytest.approx(inside.item(), abs=1e-4)


def test_small_pictures_are_seen_through_a_smaller_window() -> None:
    assert (window_of(GREY), window_of(SMALL), window_of(DataSpec("image", (1, 5, 9), levels=2))) == (11, 7, 5)
    x, truth = pair(SMALL)
    assert ssim(SMALL, truth, truth).tolist() == pytest.approx([1.0] * 4)
    assert (ssim(SMALL, x, truth) < 0.99).all()


def test_realism_measures_by_what_true_pictures_reach() -> None:
    data = load_data("digits")
    test = data.split("test").first(150)
    realism = Realism.of(data, test.x)
    assert realism.ratio(test.x, "p").value == pytest.approx(1.0, abs=1e-6)
    mean = data.split("train").first().x.mean(dim=0).expand_as(test.x)
    assert realism.ratio(mean, "p").value > 5
    named = realism.named(test.x)
    assert named is not None
    assert (named == test.label).double().mean() > 0.9
