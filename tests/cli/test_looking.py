"""The verbs that look into codes: what they write, what they print, and how they refuse."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Command


@pytest.fixture
def runs(exnihilo: Command) -> None:
    """Three models that can do different things, hardly trained."""
    for name in ("vae", "gan", "autoencoder"):
        assert exnihilo(f"train {name} digits --steps 2 -o width=8 -o latent=4 --threads 1 --out runs/{name}").code == 0


LINES = [
    ("traverse runs/vae", "Of 4 axes"),
    ("traverse runs/vae --from 3 -k 2,0 --steps 3 --split train", "z2"),
    ("traverse runs/autoencoder --axes principal --rows 2", "axis 0"),
    ("traverse runs/gan --drawn --from 5", "Of 4 axes"),
    ("traverse runs/vae --plane --steps 4", "of the codes' variance"),
    ("traverse runs/autoencoder --plane -k 1,2 --steps 3", "z1 and z2"),
    ("interpolate runs/vae --from 3 --to 17", "spherical in 9 places"),
    ("interpolate runs/autoencoder --how spherical --steps 4", "0 to 5"),
    ("interpolate runs/gan --seed 4", "4 to 9"),
    ("interpolate runs/vae --drawn --how linear", "linear"),
    ("arithmetic runs/vae 'class=3 - class=5 + 4,17'", "+ examples 4,17: the mean of 2 codes"),
    ("arithmetic runs/gan '0,1,2 - 3 + 4' --reach 2", "- samples 3: the mean of 1 code"),
    ("project runs/autoencoder --method pca -n 60", "the codes themselves"),
]


def test_every_picture_says_how_it_was_made(exnihilo: Command, runs: None) -> None:
    for line, told in LINES:
        answer = exnihilo(f"{line} --out look.png")
        assert answer.code == 0, answer.err
        assert told in answer.out, line
        facts = Image.open("look.png").info
        assert facts["recipe"] == line.split()[1].removeprefix("runs/")
        assert json.loads(facts[line.split()[0]])
        Path("look.png").unlink()


def test_json_is_json_and_the_picture_has_a_default_place(exnihilo: Command, runs: None) -> None:
    for verb, line in (
        ("traverse", "runs/vae"),
        ("project", "runs/vae -n 60 --method pca"),
        ("interpolate", "runs/gan"),
    ):
        answer = exnihilo(f"{verb} {line} --json")
        assert answer.code == 0, answer.err
        record = json.loads(answer.out)
        assert record["picture"] == f"previews/{verb}-{record['recipe']}.png"
        assert Path(record["picture"]).exists()
    assert 0 < record["pairs"][0]["evenness"] <= 1


REFUSALS = [
    ("traverse runs/vae -k 4", r"no coordinate 4: the code has 4, 0 to 3"),
    ("traverse runs/vae -k one", r"-k one is not allowed. It takes whole numbers"),
    ("traverse runs/vae --from 1,2", r"begins at one code"),
    ("traverse runs/vae --span 0", r"span must be above 0"),
    ("traverse runs/vae --label 3", r"vae does not decode by class"),
    ("traverse runs/vae --plane -k 1", r"1 coordinates make no plane"),
    ("traverse runs/vae --out look.jpg", r"ends in .png"),
    ("traverse runs/vae --data iris", r"vae was made for image data of shape"),
    ("traverse nowhere", r"no run folder 'nowhere'"),
    ("interpolate runs/vae --from 3 --to 360", r"no example 360 in the test split; its 360 are 0 to 359"),
    ("interpolate runs/vae --from 3 --to 4,5", r"--from names 1 and --to 2"),
    ("interpolate runs/vae --from -3 --to 4", r"no example -3"),
    ("interpolate runs/gan --from -3 --to 4", r"no sample -3"),
    ("interpolate runs/autoencoder --drawn", r"autoencoder draws no codes.*Models that draw codes: .*vae"),
    ("arithmetic runs/gan 'class=3 - 4'", r"Choose samples by number"),
    ("arithmetic runs/vae 'class=ten - 4'", r"no class 'ten'"),
    ("arithmetic runs/vae 'three'", r"names no group"),
    ("project runs/gan", r"gan cannot encode. It can: sample, decode. Models that can: .*vae"),
    ("project runs/vae -n 10", r"has 10 examples; a map needs 26"),
    ("sample runs/autoencoder --out x.png", r"does not say which codes occur.*exnihilo sample RUN --density"),
    ("sample runs/gan --density --out x.png", r"gan cannot encode"),
]


def test_a_refusal_is_one_clear_message(exnihilo: Command, runs: None) -> None:
    for line, message in REFUSALS:
        answer = exnihilo(line)
        assert (answer.code, answer.out) == (2, ""), line
        assert len(answer.err.splitlines()) == 1, answer.err
        assert re.search(message, answer.err), answer.err
    assert not Path("previews").exists()
    assert not list(Path().glob("*.png"))


def test_an_autoencoder_samples_with_a_density_fitted_to_its_codes(exnihilo: Command, runs: None) -> None:
    answer = exnihilo("sample runs/autoencoder -n 9 --density --out nine.png")
    assert answer.code == 0, answer.err
    assert json.loads(Image.open("nine.png").info["sampling"]) == {"density": True}


def test_evaluate_prints_what_the_bound_of_a_vae_consists_of(exnihilo: Command, runs: None) -> None:
    answer = exnihilo("evaluate runs/vae -n 64 --json")
    values = json.loads(answer.out)["values"]
    assert {"reconstruction_nats", "divergence_nats", "gap_nats"} <= set(values)
    assert values["gap_nats"]["n"] == 256
    assert "gap_nats" not in json.loads(exnihilo("evaluate runs/gan -n 64 --json").out)["values"]
