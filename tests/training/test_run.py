"""Run folders: resumed after any kill, reported when finished, refused when they are something else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

import exnihilo.models  # noqa: F401
from exnihilo.core import ModelError, OptionError, RunError, create
from exnihilo.data import load_data
from exnihilo.training import Hook, RunFolder, load_model, train

STEPS = 400
SCRIPT = """
import sys, torch
import exnihilo.models
from exnihilo.core import create
from exnihilo.data import load_data
from exnihilo.training import train
data = load_data("digits")
model = create("vae", data, seed=0, width=16, latent=3)
run = train(model, data, steps=int(sys.argv[2]), seed=1, out=sys.argv[1], threads=1, progress=False)
print(run.status)
"""


def start(out, steps=STEPS, **environment):
    variables = os.environ | {"EXNIHILO_SAVE_SECONDS": "0.05", "OMP_NUM_THREADS": "1"} | environment
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(out), str(steps)], env=variables, stdout=subprocess.PIPE, text=True
    )


def test_killed_again_and_again_it_ends_in_the_same_bytes(tmp_path):
    straight = start(tmp_path / "straight")
    assert straight.communicate()[0].strip() == "finished"
    kills = 0
    for _ in range(6):
        process = start(tmp_path / "killed")
        state = None
        deadline = time.monotonic() + 30
        while process.poll() is None and time.monotonic() < deadline:
            try:
                now = json.loads((tmp_path / "killed" / "run.json").read_text())["state"]
            except (OSError, json.JSONDecodeError):
                now = None
            if now is not None and state is not None and now != state:
                process.send_signal(signal.SIGKILL)
                break
            state = state or now
        process.wait()
        kills += process.returncode == -signal.SIGKILL
    final = start(tmp_path / "killed")
    assert final.communicate()[0].strip() == "finished"
    assert kills >= 2
    one, two = ((tmp_path / name / "weights.safetensors").read_bytes() for name in ("straight", "killed"))
    assert one == two
    lines = [
        [
            {key: value for key, value in json.loads(line).items() if key != "seconds"}
            for line in (tmp_path / name / "journal.jsonl").read_text().splitlines()
        ]
        for name in ("straight", "killed")
    ]
    assert lines[0] == lines[1]


def test_ctrl_c_saves_and_the_same_command_goes_on(tmp_path):
    process = start(tmp_path / "run", EXNIHILO_SAVE_SECONDS="1000")
    while not (tmp_path / "run" / "journal.jsonl").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.communicate()[0].strip() == "stopped"
    record = RunFolder(tmp_path / "run").record()
    assert record["status"] == "stopped"
    assert 0 < record["state"]["now"]["place"]["round"] < STEPS
    assert load_model(tmp_path / "run").sample(2, seed=0).shape == (2, 1, 8, 8)  # the averages so far
    straight = start(tmp_path / "straight")
    straight.communicate()
    assert start(tmp_path / "run").communicate()[0].strip() == "finished"
    assert (tmp_path / "run/weights.safetensors").read_bytes() == (
        tmp_path / "straight/weights.safetensors"
    ).read_bytes()


@pytest.fixture(scope="module")
def data():
    return load_data("iris")


@pytest.fixture
def run(data, tmp_path):
    return begin(data, tmp_path / "run")


def begin(data, out, steps=20, seed=1, recipe="vae", options=None, **more):
    model = create(recipe, data, seed=0, **(options or {"width": 8, "latent": 2}))
    return train(model, data, steps=steps, seed=seed, out=out, threads=1, progress=False, **more)


def test_a_finished_run_is_reported_not_repeated(run, data):
    again = begin(data, run.folder)
    assert again.status == "finished"
    assert again.journal == run.journal
    assert all(torch.equal(a, b) for a, b in zip(run.model.parameters(), again.model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"steps": 21}, "budget is steps=20, not steps=21"),
        ({"seed": 2}, "seed is 1, not 2"),
        ({"options": {"width": 16, "latent": 2}}, "options is width=8, not width=16"),
        ({"recipe": "autoencoder"}, "recipe is vae, not autoencoder"),
    ],
)
def test_another_run_in_the_folder_is_refused_by_its_difference(run, data, change, named):
    with pytest.raises(RunError, match=named) as error:
        begin(data, run.folder, **change)
    assert "--fresh" in str(error.value)
    begin(data, run.folder, fresh=True, **change)


def test_what_is_no_run_is_left_alone(data, tmp_path):
    (tmp_path / "thesis.tex").write_text("do not touch")
    with pytest.raises(RunError, match=r"holds other things \(thesis.tex\)"):
        begin(data, tmp_path, fresh=True)
    assert (tmp_path / "thesis.tex").read_text() == "do not touch"
    with pytest.raises(RunError, match="is a file"):
        begin(data, tmp_path / "thesis.tex")


def test_fresh_deletes_only_what_a_run_wrote(run, data):
    (run.folder / "notes.txt").write_text("mine")
    begin(data, run.folder, seed=5, fresh=True)
    assert (run.folder / "notes.txt").read_text() == "mine"


def edit(folder, **changes):
    record = json.loads((folder / "run.json").read_text()) | changes
    (folder / "run.json").write_text(json.dumps(record))


def test_altered_folders_are_refused_by_name(run, tmp_path):
    weights = run.folder / "weights.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-10])
    with pytest.raises(RunError, match=r"weights.safetensors is truncated or altered"):
        load_model(run.folder)
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(RunError, match="truncated or altered"):
        load_model(run.folder)
    weights.unlink()
    with pytest.raises(RunError, match="is missing"):
        load_model(run.folder)
    edit(run.folder, format=2)
    with pytest.raises(RunError, match="format 2; this version reads format 1"):
        load_model(run.folder)
    (run.folder / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"run.json is damaged"):
        load_model(run.folder)
    with pytest.raises(RunError, match="There is no run folder"):
        load_model(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RunError, match="is not a run folder"):
        load_model(tmp_path / "empty")


def test_recipes_and_options_that_are_gone_are_named(run):
    record = run.record
    edit(run.folder, options=record["options"] | {"sparkle": 3})
    with pytest.raises(RunError, match="no longer has: sparkle"):
        load_model(run.folder)
    edit(run.folder, recipe="vea", options=record["options"])
    with pytest.raises(ModelError, match="Did you mean 'vae'"):
        load_model(run.folder)


def test_weights_of_another_model_are_refused_before_anything_changes(run, data):
    other = begin(data, run.folder.parent / "other", options={"width": 16, "latent": 2})
    edit(run.folder, options=other.record["options"])
    with pytest.raises(RunError, match="has shape"):
        load_model(run.folder)


def test_the_folder_holds_what_it_should(run):
    names = {entry.name for entry in run.folder.iterdir()}
    assert names == {"run.json", "weights.safetensors", "journal.jsonl", "README.md", "samples"}
    assert (run.folder / "README.md").read_text().startswith("---\nlibrary_name: exnihilo")
    assert list((run.folder / "samples").glob("*.png"))


@pytest.mark.parametrize("budget", [{}, {"steps": 0}, {"steps": 5, "seconds": 5}, {"seconds": -1}, {"steps": 1.5}])
def test_wrong_budgets(data, budget):
    model = create("vae", data, width=8, latent=2)
    with pytest.raises(OptionError):
        train(model, data, progress=False, **budget)


def test_an_absent_device_is_named(data):
    with pytest.raises(OptionError, match="no device 'abacus'"):
        train(create("vae", data, width=8, latent=2), data, steps=1, device="abacus", progress=False)


def test_without_a_folder_nothing_is_written(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = begin(data, None)
    assert run.folder is None
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_events(data, tmp_path):
    run = begin(data, tmp_path / "run", tensorboard=True)
    assert list((run.folder / "tensorboard").glob("events.*"))


class Recorder(Hook):
    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


def test_a_stage_in_closed_form_trains_in_no_rounds(data, tmp_path):
    run = begin(data, tmp_path / "run", recipe="gmm", options={"components": 2})
    assert run.record["rounds"] == [0]
    assert load_model(run.folder).sample(3, seed=0).shape[0] == 3
