"""Pictures read from disk as they are needed, by threads that are one batch ahead."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path

import torch
from torch import Tensor

from exnihilo.data.pictures import Frame, read_picture

THREADS = min(8, os.cpu_count() or 1)


class PictureFiles:
    """Examples that stay files; equal to the same pictures held in memory, whatever order they are read in.

    Batches are decoded by threads (Pillow works outside Python's lock); `prefetch` starts the next one early.
    """

    lazy = True

    def __init__(self, paths: Sequence[Path], names: Sequence[str], frame: Frame):
        self.paths, self.names, self.frame = list(paths), list(names), frame
        self._waiting: dict[int, Future[Tensor]] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._owner = os.getpid()

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, rows: Tensor) -> Tensor:
        """[len(rows), C, H, W] uint8; a file that cannot be decoded is a DataError naming it."""
        pool = self._threads()
        known = {row: self._waiting.get(row) or pool.submit(self._one, row) for row in set(rows.tolist())}
        return torch.stack([known[row].result() for row in rows.tolist()])

    def prefetch(self, rows: Tensor) -> None:
        """Start reading these rows, and forget earlier ones nobody came for."""
        pool = self._threads()
        before, self._waiting = self._waiting, {}
        for row in dict.fromkeys(rows.tolist()):
            self._waiting[row] = before.pop(row) if row in before else pool.submit(self._one, row)
        for future in before.values():
            future.cancel()

    def digests(self) -> list[bytes]:
        """Of names and sizes: the content of a large folder is not read twice."""
        told = (f"{name} {path.stat().st_size}" for name, path in zip(self.names, self.paths, strict=True))
        return [blake2b(text.encode(), digest_size=16).digest() for text in told]

    def _one(self, row: int) -> Tensor:
        return read_picture(self.paths[row], self.names[row], self.frame)

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None or self._owner != os.getpid():  # threads do not survive a fork
            self._pool, self._owner, self._waiting = ThreadPoolExecutor(THREADS, "pictures"), os.getpid(), {}
        return self._pool


def decode_all(paths: Sequence[Path], names: Sequence[str], frame: Frame) -> Iterable[Tensor | Exception]:
    """Every picture, or the error that its file gave, in order."""

    def attempt(path: Path, name: str) -> Tensor | Exception:
        try:
            return read_picture(path, name, frame)
        except Exception as reason:  # told together, so that all bad files are named at once
            return reason

    with ThreadPoolExecutor(THREADS, "pictures") as pool:
        yield from pool.map(attempt, paths, names)
