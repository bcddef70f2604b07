"""Run folders: resumed after any kill, reported when finished, refused when they are something else."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
import torch

import exnihilo.models  # noqa: F401
from exnihilo.core import ModelError, OptionError, RunError, create
from exnihilo.data import load_data
from exnihilo.training import RunFolder, load_model, train

STEPS = 300
FINISHED, STOPPED = 10, 11  # exit codes of the children


def start(out, save_seconds=0.05) -> int:
    """The training of one command in a child process of its own; returns its number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.environ["EXNIHILO_SAVE_SECONDS"] = str(save_seconds)
        digits = load_data("digits")
        model = create("vae", digits, seed=0, width=16, latent=3)
        run = train(model, digits, steps=STEPS, seed=1, out=out, threads=1, progress=False)
        code = FINISHED if run.status == "finished" else STOPPED
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """Wait for a child; its exit code, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def saved(folder) -> str | None:
    """The state that run.json names at this moment."""
    try:
        state = json.loads((folder / "run.json").read_text())["state"]
    except FileNotFoundError:
        return None
    return state and state["folder"]


def kill_after_states(folder, states: int) -> int:
    """Start, kill -9 once so many further states were saved (or let it end); how it ended."""
    child, seen = start(folder), {saved(folder)}
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        seen.add(saved(folder))
        if len(seen) > states:
            os.kill(child, signal.SIGKILL)
            break
    return ended(child)


def lines_without_times(folder) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_killed_again_and_again_it_ends_in_the_same_bytes(tmp_path):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    assert ended(start(straight)) == FINISHED
    kills = [kill_after_states(killed, states) for states in (2, 1, 3)].count(-signal.SIGKILL)
    assert kills >= 2
    assert ended(start(killed)) == FINISHED
    assert (straight / "weights.safetensors").read_bytes() == (killed / "weights.safetensors").read_bytes()
    assert lines_without_times(straight) == lines_without_times(killed)


def test_ctrl_c_saves_and_the_same_command_goes_on(tmp_path):
    folder, straight = tmp_path / "run", tmp_path / "straight"
    child = start(folder, save_seconds=1000)
    while not (folder / "journal.jsonl").exists():
        time.sleep(0.01)
    os.kill(child, signal.SIGINT)
    assert ended(child) == STOPPED
    record = RunFolder(folder).record()
    assert record["status"] == "stopped"
    assert 0 < record["state"]["now"]["place"]["round"] < STEPS
    assert load_model(folder).sample(2, seed=0).shape == (2, 1, 8, 8)  # the averages so far
    assert ended(start(folder)) == FINISHED
    assert ended(start(straight)) == FINISHED
    assert (folder / "weights.safetensors").read_bytes() == (straight / "weights.safetensors").read_bytes()


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


def test_a_stage_in_closed_form_trains_in_no_rounds(data, tmp_path):
    run = begin(data, tmp_path / "run", recipe="gmm", options={"components": 2})
    assert run.record["rounds"] == [0]
    assert load_model(run.folder).sample(3, seed=0).shape[0] == 3


def test_a_model_without_players_trains_where_the_threads_are_chosen(monkeypatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    data = load_data("iris")
    assert train(create("kde", data.spec), data, steps=1, progress=False).record["threads"] >= 1
