"""`exnihilo sample` of text: prompts, printed samples, and what is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import Command


@pytest.fixture
def run(exnihilo: Command, folder: Path) -> Path:
    """A little GPT on a little text."""
    (folder / "text.txt").write_text("the cat sat on the mat and the dog lay on the log\n" * 60)
    answer = exnihilo("train gpt text.txt -d window=16 -o width=8 -o depth=1 --steps 3 --threads 1 --out run")
    assert answer.code == 0
    return folder / "run"


def test_a_prompt_is_continued_and_printed(exnihilo: Command, run: Path) -> None:
    answer = exnihilo("sample run --text 'the cat' --seed 1")
    assert answer.code == 0
    assert answer.out.startswith("the cat")
    assert len(answer.out) == 16 + len("\n")
    assert exnihilo("sample run --text 'the cat' --seed 1").out == answer.out
    several = exnihilo("sample run --text 'the cat' -n 2 --seed 1 -o temperature=0.5 -o top_k=3").out
    assert several.count("the cat") == 2
    assert "=== 1 ===" in several
    long = exnihilo("sample run --text 'the dog lay on the log and the cat sat' --seed 1")
    assert "last tokens were kept" in long.err
    assert long.out.startswith(" the cat sat")


def test_texts_go_to_a_file_or_to_a_program(exnihilo: Command, run: Path) -> None:
    answer = exnihilo("sample run --text 'the cat' -n 3 --out new.txt")
    assert "3 samples of gpt" in answer.out
    assert Path("new.txt").read_text().count("the cat") >= 3
    told = json.loads(exnihilo("sample run --text 'the dog' --json").out)
    assert told["texts"][0].startswith("the dog")
    assert json.loads(told["sampling"]) == {"text": "the dog"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("sample run --text 'the Zebra'", r"'Z' \(U\+005A, character 4 of the text\) was not seen in training"),
        ("sample run --text the -o top_p=2", r"top_p=2 is not allowed. It takes a number from 0 to 1"),
        ("sample run --text the -n 0", r"n=0 is not allowed"),
    ],
)
def test_mistakes_with_prompts(exnihilo: Command, run: Path, line: str, message: str) -> None:
    answer = exnihilo(line)
    assert answer.code == 2
    assert re.search(message, answer.err)


def test_other_data_have_no_prompts_and_need_a_place(exnihilo: Command, folder: Path) -> None:
    assert exnihilo("train gmm moons -d n=200 --out moons --threads 1").code == 0
    answer = exnihilo("sample moons --text hello --out x.csv")
    assert (answer.code, "--text is for models of text" in answer.err) == (2, True)
    answer = exnihilo("sample moons")
    assert (answer.code, "need a place: --out PATH" in answer.err) == (2, True)
