"""The run folder: a kill at any moment leaves the last good state, and nothing altered is ever read."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Any

from torch import Tensor

from exnihilo.core import RunError
from exnihilo.training.state import Place, State

FORMAT = 1
OWN = ("run.json", "weights.safetensors", "journal.jsonl", "README.md", "state", "samples", "tensorboard", "evaluation")


class RunFolder:
    """A folder with `run.json`, `weights.safetensors`, `state/`, `journal.jsonl`, `samples/`, `README.md`."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    # -- reading -------------------------------------------------------------------------------------------------

    def record(self) -> dict[str, Any]:
        """What run.json says; a RunError if there is none, or none that this version can read."""
        file = self.path / "run.json"
        if not self.path.is_dir():
            raise RunError(
                f"There is no run folder {str(self.path)!r}. Train one: exnihilo train NAME SOURCE --out DIR."
            )
        if not file.is_file():
            raise RunError(f"{self.path} is not a run folder: it has no run.json.")
        try:
            record: dict[str, Any] = json.loads(file.read_text())
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise RunError(f"{file} is damaged: {error}.") from error
        if record.get("format") != FORMAT:
            raise RunError(
                f"{file} has format {record.get('format')!r}; this version reads format {FORMAT}."
                " It was written by another version of exnihilo."
            )
        return record

    def exists(self) -> bool:
        """Whether a run was begun here."""
        return (self.path / "run.json").exists()

    def weights(self, record: dict[str, Any]) -> dict[str, Tensor]:
        """The weights of a finished run, or the kept weights of the last state of an unfinished one."""
        if record.get("weights"):
            return self._read("weights.safetensors", record["weights"])
        state = self.state(record)
        if state is None:
            raise RunError(f"{self.path} holds no weights yet: its training was stopped before the first state.")
        groups: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "best": {}}
        for key, tensor in state.tensors.items():
            group, _, name = key.partition("|")
            if group in groups:
                groups[group][name] = tensor
        return groups["best"] or groups["model"] | groups["average"]

    def state(self, record: dict[str, Any], which: str = "now") -> State | None:
        """The saved moment that run.json names; `which` may be `good`, the last mark before it."""
        saved = record.get("state")
        if not saved:
            return None
        tensors = self._read(f"{saved['folder']}/{which}.safetensors", saved[which]["hash"])
        return State(Place(**saved[which]["place"]), tensors)

    def _read(self, name: str, expected: str) -> dict[str, Tensor]:
        from safetensors.torch import load

        file = self.path / name
        if not file.is_file():
            raise RunError(f"{file} is missing, though run.json names it.")
        content = file.read_bytes()
        if digest(content) != expected:
            raise RunError(f"{file} is truncated or altered: its content is not what run.json recorded.")
        return load(content)

    # -- writing -------------------------------------------------------------------------------------------------

    def write_record(self, record: dict[str, Any]) -> None:
        """Replace run.json at once."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomic(self.path / "run.json", (json.dumps(record, indent=1) + "\n").encode())

    def save_state(self, record: dict[str, Any], now: State, good: State) -> None:
        """Write a state, name it in run.json (that is the moment it counts), then delete the one before."""
        name = f"state/{now.place.total:08d}"
        if (record.get("state") or {}).get("folder") == name:
            return  # this round is saved already
        folder = self.path / name
        shutil.rmtree(folder, ignore_errors=True)  # of a kill before its run.json
        folder.mkdir(parents=True)
        saved: dict[str, Any] = {"folder": name}
        for which, state in (("now", now), ("good", good)):
            content = dump(state.tensors)
            write_atomic(folder / f"{which}.safetensors", content)
            saved[which] = {"place": asdict(state.place), "hash": digest(content)}
        record["state"] = saved
        self.write_record(record)
        for old in (self.path / "state").iterdir():
            if old != folder:
                shutil.rmtree(old)

    def save_weights(self, tensors: dict[str, Tensor]) -> str:
        """Write weights.safetensors; equal weights are equal bytes. Returns its hash."""
        content = dump({name: tensor.cpu() for name, tensor in tensors.items()})
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomic(self.path / "weights.safetensors", content)
        return digest(content)

    def clear(self) -> None:
        """Delete what a run wrote, and nothing else; run.json first, so that a kill leaves no half-deleted run."""
        for name in OWN:
            part = self.path / name
            if part.is_dir():
                shutil.rmtree(part)
            else:
                part.unlink(missing_ok=True)

    def refuse_foreign(self) -> None:
        """A RunError if the folder holds something else than a run."""
        if self.path.is_file():
            raise RunError(f"{self.path} is a file. Name a folder for the run: --out DIR.")
        foreign = [entry.name for entry in self.path.iterdir() if entry.name not in OWN] if self.path.is_dir() else []
        if foreign and not self.exists():
            raise RunError(f"{self.path} holds other things ({foreign[0]}). Name a new folder for the run: --out DIR.")


def write_atomic(path: Path, content: bytes) -> None:
    """The file is either as before or complete, also after a power cut."""
    temporary = path.with_name(path.name + ".part")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def dump(tensors: dict[str, Tensor]) -> bytes:
    """Tensors as safetensors bytes, in the order of their names."""
    from safetensors.torch import save

    return save({name: tensors[name].detach().clone().contiguous() for name in sorted(tensors)})


def digest(content: bytes) -> str:
    """The hash by which files are known."""
    return blake2b(content, digest_size=16).hexdigest()
