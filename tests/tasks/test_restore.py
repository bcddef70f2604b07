from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from exnihilo.core import DataError, DataSpec, OptionError, Unsupported, create
from exnihilo.data import load_data
from exnihilo.data.given_pictures import given_pictures
from exnihilo.tasks import restore
from exnihilo.tasks.known_parts import MASKS, known_part
from exnihilo.tasks.restore import bicubic
from exnihilo.training import train

FEW = {"steps": 3, "repeats": 1}


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


@pytest.fixture(scope="module")
def ddpm(digits):
    """Rough, for what is tested holds of any denoiser."""
    return train(create("ddpm", digits, width=8), digits, steps=2, threads=1, progress=False).model


@pytest.fixture(scope="module")
def coloured():
    """Pictures of two colours, and a mixture of Gaussians of them."""
    rng = np.random.default_rng(0)
    tint = rng.random((120, 1, 1, 3)) * np.linspace(0.3, 1, 6)[None, :, None, None]
    return load_data((255 * np.broadcast_to(tint, (120, 6, 6, 3))).astype(np.uint8))


def test_what_masks_hide() -> None:
    spec = DataSpec("image", (1, 8, 6), levels=17)
    shares = {name: float((~known_part(spec, mask=name).mask).double().mean()) for name in MASKS}
    for name in ("half", "upper", "left", "right", "lines"):
        assert shares[name] == 0.5
    assert shares["box"] + shares["border"] == 1
    assert 0.3 < shares["pixels"] < 0.7
    assert known_part(spec, mask="half").mask[0, :4].all()
    assert known_part(spec, mask="half").words == "the lower half hidden (50%)"


def test_what_is_known_stays_and_the_rest_does_not_matter(ddpm, digits, coloured):
    x = digits.split("test").first(5).x
    top = torch.zeros(8, 8, dtype=torch.bool)
    top[:4] = True
    found = restore(ddpm, x, mask=top, n=2, seed=1, **FEW)
    assert found.draws.shape == (2, *x.shape)
    assert torch.equal(found.draws[:, :, :, :4], x[None, :, :, :4].expand(2, -1, -1, -1, -1))
    other = torch.where(top, x, 0.3)
    assert torch.equal(restore(ddpm, other, mask=top, n=2, seed=1, **FEW).draws, found.draws)
    fewer = restore(ddpm, x[:2], mask=top, seed=1, **FEW).draws  # noise belongs to the picture and the draw
    torch.testing.assert_close(fewer[0], found.draws[0, :2], rtol=0, atol=1e-4)
    assert not torch.equal(found.draws[0], found.draws[1])
    small = restore(ddpm, x, factor=2, **FEW)
    means = torch.nn.functional.avg_pool2d(small.draws[0], 2)
    torch.testing.assert_close(means, torch.nn.functional.avg_pool2d(x, 2), rtol=0, atol=1e-4)
    model = create("ddpm", coloured, width=8).eval()
    y = coloured.first(4).x
    hue = restore(model, y, colour=True, **FEW).draws[0]
    weights = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
    torch.testing.assert_close((hue * weights).sum(1), (y * weights).sum(1), rtol=0, atol=1e-4)


def test_every_model_that_fills_gaps_draws_what_a_mask_hides(coloured):
    data = coloured
    model = train(create("gmm", data, components=2), data, steps=1, threads=1, progress=False).model
    found = restore(model, data, mask="half", n=3, limit=16, split="validation")
    assert found.how == "impute"
    figures = found.judged
    assert figures is not None
    assert figures["gmm, mean of 3"]["PSNR"].value > figures["mean picture"]["PSNR"].value
    with pytest.raises(OptionError, match=r"gmm fills what is hidden in its own way.*Leave out steps"):
        restore(model, data, mask="half", limit=16, steps=3)
    with pytest.raises(Unsupported, match=r"gmm does not draw by taking noise away.*ddpm"):
        restore(model, data, factor=2, limit=16)


@pytest.mark.parametrize("part", [{"mask": "half"}, {"factor": 2}], ids=["half", "small"])
def test_judged_beside_what_it_has_to_beat(ddpm, digits, part):
    found = restore(ddpm, digits, limit=60, n=2, **part, **FEW)
    judged = found.judged
    assert judged is not None
    rows = list(judged.rows)
    assert rows[:4] == ["ddpm", "ddpm, mean of 2", "mean picture", "nearest picture"]
    assert rows[-2:] == ["linear regression", "truth"]
    assert ("bicubic" in rows) == ("factor" in part)
    truth = judged["truth"]
    assert truth["SSIM"].value == pytest.approx(1)
    assert truth["Frechet ratio"].value == pytest.approx(1, abs=1e-5)
    assert truth["class"].value > 0.9
    for name in rows[:-1]:
        assert judged[name]["PSNR"].value < truth["PSNR"].value
    assert judged["linear regression"]["PSNR"].value > judged["mean picture"]["PSNR"].value
    assert judged["linear regression"]["PSNR"].value > judged["ddpm"]["PSNR"].value  # hardly trained
    assert found.to_json()["judged"]["rows"]["truth"]["PSNR"]["n"] == 60


def test_bicubic_keeps_what_is_smooth():
    ramp = torch.linspace(-1, 1, 16).view(1, 1, 1, 16).expand(1, 1, 16, 16)
    inside = (slice(None), slice(None), slice(4, -4), slice(4, -4))
    torch.testing.assert_close(bicubic(ramp, 2)[inside], ramp[inside], rtol=0, atol=1e-5)
    assert bicubic(torch.zeros(1, 1, 9, 7), 2).shape == (1, 1, 9, 7)


def test_results_are_files_that_are_read_back_as_they_are(ddpm, digits, tmp_path: Path):
    x = digits.split("test").first(3).x
    found = restore(ddpm, x, mask="box", names=["a.png", "sub/b.jpg", "c.png"], **FEW)
    paths = found.save(tmp_path / "out")
    assert [path.relative_to(tmp_path / "out").as_posix() for path in paths] == [
        "restored.png", "pictures/a.png", "pictures/sub/b.png", "pictures/c.png",
    ]  # fmt: skip
    back = given_pictures(ddpm.spec, paths[1]).x[0]
    torch.testing.assert_close(back, ddpm.spec.quantise(found.draws[0, 0]))
    sheet = np.asarray(Image.open(paths[0]).convert("RGB"))
    assert (sheet == np.array([147, 176, 214])).all(axis=-1).any(), "what is hidden is marked"
    assert Image.open(paths[1]).text["restored"] == "a box in the middle hidden (25%)"
    assert len(restore(ddpm, x, factor=4, n=2, **FEW).save(tmp_path / "two")) == 7


def test_mistakes(ddpm, digits):
    x = digits.first(2).x
    for wrong, error, message in (
        ({}, OptionError, "Say what is to be restored"),
        ({"mask": "half", "factor": 2}, OptionError, "one thing only"),
        ({"mask": "hlaf"}, OptionError, "no mask 'hlaf'. Did you mean 'half'"),
        ({"mask": torch.ones(8, 8, dtype=torch.bool)}, DataError, "hides nothing"),
        ({"mask": torch.zeros(8, 8, dtype=torch.bool)}, DataError, "hides everything"),
        ({"mask": torch.ones(4, 8, dtype=torch.bool)}, DataError, r"it must be bool \(8, 8\)"),
        ({"factor": 1}, OptionError, "factor=1 is not allowed. It takes a whole number from 2 to 8"),
        ({"colour": True}, DataError, "trained on grey ones"),
        ({"mask": "half", "n": 0}, OptionError, "n=0 is not allowed"),
        ({"mask": "half", "repeats": 0}, OptionError, "repeats=0 is not allowed"),
        ({"mask": "half", "label": "12"}, DataError, "no class 12"),
        ({"mask": "half", "stepz": 2}, OptionError, "Did you mean 'steps'"),
        ({"mask": "half", "solver": "eulr"}, OptionError, "solver=eulr is not allowed"),
    ):
        with pytest.raises(error, match=message):
            restore(ddpm, x, **wrong)
    with pytest.raises(DataError, match="do not fit a model of"):
        restore(ddpm, x[..., :4], mask="half")
    points = load_data("moons")
    with pytest.raises(Unsupported, match=r"Only pictures are restored.*exnihilo impute"):
        restore(create("flow_matching", points, width=8), points, mask="half")
    with pytest.raises(Unsupported, match="cannot fill gaps"):
        restore(create("dcgan", digits, width=8), x, mask="half")
