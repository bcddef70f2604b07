"""The docstrings of Python's standard library, as text that is on every machine."""

from __future__ import annotations

import ast
import functools
import sys
import sysconfig
from pathlib import Path

from exnihilo.core import DataError
from exnihilo.core.tokens import Tokens
from exnihilo.data.dataset import Dataset
from exnihilo.data.texts import Size, Stride, Window, text_dataset

HOLDERS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def stdlib(
    *,
    tokens: Tokens = "characters",
    size: Size | None = None,
    window: Window = 128,
    stride: Stride | None = None,
) -> Dataset:
    """Some 900,000 characters of English: the docstrings of the standard library's public modules (Python's own).

    Read from the installed sources, so equal wherever the version of Python is; nothing is imported. Whole modules go
    to one split. Options as of a text file.
    """
    return text_dataset(_docstrings(), tokens=tokens, size=size, window=window, stride=stride)


@functools.lru_cache(maxsize=1)
def _docstrings() -> dict[str, bytes]:
    """By module, in the order of their names; the docstrings as they stand, an empty line between."""
    folder = Path(sysconfig.get_paths()["stdlib"])
    texts = {}
    for name in sorted(sys.stdlib_module_names):
        paths = (folder / f"{name}.py", folder / name / "__init__.py")
        if name.startswith("_") or not (found := [path for path in paths if path.is_file()]):
            continue
        holders = [node for node in ast.walk(ast.parse(found[0].read_bytes())) if isinstance(node, HOLDERS)]
        holders.sort(key=lambda node: 0 if isinstance(node, ast.Module) else node.lineno)
        words = [text for node in holders if (text := ast.get_docstring(node))]
        if words:
            texts[name] = ("\n\n".join(words) + "\n").encode()
    if not texts:
        raise DataError(f"The sources of the standard library are not in {folder}, so there is no text to read there.")
    return texts
