"""`restore`, `edit`, `sample --path` and what `evaluate` says of denoisers, with their mistakes."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from exnihilo.evaluation import extractors
from tests.cli.conftest import Command


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Features by a network that is trained for a moment, and kept here."""
    monkeypatch.setenv("EXNIHILO_CACHE", str(folder / "cache"))
    monkeypatch.setattr(extractors, "train_network", functools.partial(extractors.train_network, steps=5))


@pytest.fixture
def pictures(exnihilo: Command, folder: Path) -> Path:
    """Bright discs of two sizes on black as training pictures, a run of them, and pictures from elsewhere."""
    rng = np.random.default_rng(0)
    (folder / "train").mkdir()
    y, x = np.mgrid[:8, :8]
    for place in range(60):
        centre, radius = rng.uniform(2.5, 4.5, 2), 2.0 + place % 2
        disc = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius**2) * 255
        Image.fromarray(disc.astype(np.uint8)).save(folder / "train" / f"{place:02d}.png")
    assert exnihilo("train ddpm train -o width=8 --steps 2 --threads 1 --out run").code == 0
    large = np.full((40, 60), 30, dtype=np.uint8)
    large[:, 20:40] = 220
    Image.fromarray(large).save(folder / "photo.png")
    hidden = np.zeros((8, 8), dtype=np.uint8)
    hidden[:, 5:] = 255
    Image.fromarray(hidden).save(folder / "mask.png")
    Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(folder / "red.png")
    Image.fromarray(np.full((8, 8), 255, dtype=np.uint8)).save(folder / "white.png")
    Image.fromarray(np.full((5, 8), 255, dtype=np.uint8)).save(folder / "other.png")
    return folder


def test_a_picture_is_restored_and_edited(exnihilo: Command, pictures: Path) -> None:
    answer = exnihilo("restore run photo.png --mask mask.png -n 2 --repeats 2 -o steps=3 --out restored")
    assert answer.code == 0, answer.err
    assert "1 picture by ddpm, projection, with every ten steps done 2 times, 2 times each: restored" in answer.out
    assert "60 x 40 resized to 8 x 8" in answer.err
    assert Path("restored/restored.png").exists()
    first, second = (np.asarray(Image.open(f"restored/pictures/photo-{place}.png")) for place in (0, 1))
    assert (first[:, :5] == second[:, :5]).all()
    assert (first[:, 5:] != second[:, 5:]).any()
    assert ((first[:, 3] > 210) & (first[:, 3] < 230)).all()  # what is known, as it was, but for the resizing
    answer = exnihilo("restore run photo.png --factor 2 --repeats 1 -o steps=2 -o solver=ancestral --out large --json")
    assert answer.code == 0, answer.err
    record = json.loads(answer.out)
    assert record["known"] == "2 times smaller"
    assert Image.open(record["files"][1]).size == (8, 8)
    assert exnihilo("restore run red.png -d color=grey --mask box -o steps=2 --out grey").code == 0
    answer = exnihilo("edit run photo.png --strength 0.4 -o steps=3 -o solver=heun --out edited")
    assert answer.code == 0, answer.err
    assert "1 picture by ddpm, strength 0.4, by noise: edited" in answer.out
    again = exnihilo("edit run photo.png --strength 0.4 -o steps=3 -o solver=heun --out again")
    assert again.code == 0
    name = "pictures/photo.png"
    assert Path("edited", name).read_bytes() == Path("again", name).read_bytes()


def test_without_pictures_the_run_s_own_are_judged(exnihilo: Command, pictures: Path, quick: None) -> None:
    page = exnihilo("restore run --mask half --repeats 1 -o steps=2")
    assert page.code == 0, page.err
    for part in (
        "PSNR",
        "SSIM",
        "Frechet ratio",
        "nearest picture",
        "linear regression",
        "truth",
        "the lower half hidden",
    ):
        assert part in page.out
    assert Path("previews/restore-run/restored.png").exists()
    record = json.loads(exnihilo("edit run -o steps=2 --rough 1 --json").out)
    assert {"guide", "strength 0.5", "fresh sample"} <= set(record["judged"]["rows"])
    assert "class" not in record["judged"]["rows"]["guide"]


def test_mistakes_are_told_before_anything_is_written(exnihilo: Command, pictures: Path) -> None:
    before = set(pictures.rglob("*"))
    for line, message in (
        ("restore run", r"Say what is to be restored"),
        ("restore run photo.png --mask half --factor 2", r"one thing only"),
        ("restore run photo.png --mask haff", r"no mask 'haff'. Did you mean 'half'\? It is one of half, upper"),
        ("restore run photo.png --mask other.png", r"other\.png is 8 x 5; it must be as large as the pictures: 8 x 8"),
        ("restore run photo.png --mask white.png", r"The mask hides everything"),
        ("restore run photo.png --mask no.png", r"no file 'no\.png'"),
        ("restore run red.png --mask box", r"red\.png is a picture in colour.*-d color=grey"),
        ("restore run photo.png --mask box -d size=3", r"take one reading option: -d color=grey"),
        ("restore run photo.png --colour", r"this one was trained on grey ones"),
        ("restore run photo.png --factor 90", r"factor=90 is not allowed. It takes a whole number from 2 to 8"),
        ("restore run photo.png --mask box --repeats 0", r"repeats=0 is not allowed"),
        ("restore run photo.png --mask box -o stepz=2", r"Did you mean 'steps'"),
        ("restore run photo.png --mask box -o solver=magic", r"solver=magic is not allowed"),
        ("restore run nowhere.png --mask box", r"no file or folder 'nowhere\.png'"),
        ("restore run mask.png --mask box --label cat", r"trained without labels"),
        ("restore nowhere --mask box", r"no run folder 'nowhere'"),
        ("edit run photo.png --strength 2", r"strength=2 is not allowed"),
        ("edit run photo.png -n 0", r"n=0 is not allowed"),
        ("edit run photo.png --way inversion -o steps=2", r"By inversion, edit takes no steps"),
        ("edit run photo.png -o guidance=2", r"guidance=2 needs a model of labelled data"),
        ("sample run -n 2 --path path.jpg", r"--path path\.jpg is not allowed"),
        ("sample run -n 2", r"need a place: --out PATH"),
    ):
        answer = exnihilo(line)
        assert (answer.code, answer.out) == (2, ""), (line, answer)
        assert re.search(message, answer.err), (line, answer.err)
    assert set(pictures.rglob("*")) == before


def test_models_without_the_means_say_who_has_them(exnihilo: Command, pictures: Path) -> None:
    assert exnihilo("train dcgan train -o width=8 --steps 1 --threads 1 --out gan").code == 0
    for line, message in (
        ("restore gan photo.png --mask box", r"dcgan cannot fill gaps.*ddpm"),
        ("restore gan photo.png --factor 2", r"dcgan does not draw by taking noise away.*Models that can: .*ddpm"),
        ("edit gan photo.png", r"dcgan does not draw by taking noise away"),
        ("sample gan -n 2 --path path.png", r"dcgan cannot denoise.*ddpm"),
    ):
        answer = exnihilo(line)
        assert (answer.code, answer.out) == (2, ""), line
        assert re.search(message, answer.err), (line, answer.err)


def test_the_way_from_noise_is_a_picture_and_evaluate_looks_at_the_noise(
    exnihilo: Command, pictures: Path, quick: None
) -> None:
    answer = exnihilo("sample run -n 3 -o steps=5 -o solver=dpmpp_2m --path path.png")
    assert (answer.code, answer.out) == (0, ""), answer.err
    assert Image.open("path.png").width > Image.open("path.png").height
    page = exnihilo("evaluate run -n 16")
    assert page.code == 0, page.err
    for part in ("predicted noise", "expected variance", "data error", "no better than by one who knows only mean"):
        assert part in re.sub(r"\s+", " ", page.out)
    record = json.loads(Path("run/run.json").read_text())
    assert any("nothing of the data's structure is learnt" in warning for warning in record["warnings"])
