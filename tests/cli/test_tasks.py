"""The verbs for tasks on small data, and their mistakes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.cli.conftest import Command


@pytest.fixture
def holes(folder: Path) -> pd.DataFrame:
    """train.csv is whole; holes.csv lacks some values and is otherwise the same."""
    rng = np.random.default_rng(0)
    height = rng.normal(size=120)
    frame = pd.DataFrame({"id": range(120), "height": height, "weight": 2 * height + 0.1 * rng.normal(size=120)})
    frame["kind"] = np.where(height > 0.8, "tall", "short")
    frame.to_csv("train.csv", index=False)
    frame.loc[[1, 4], "height"] = np.nan
    frame.loc[7, "weight"] = np.nan
    frame.to_csv("holes.csv", index=False)
    return frame


def test_gaps_of_a_file_are_filled(exnihilo: Command, holes: pd.DataFrame) -> None:
    assert exnihilo("train gmm train.csv -d drop=id -d label=kind -o components=1 --steps 1 --out run").code == 0
    answer = exnihilo("impute run holes.csv --out filled.csv")
    assert answer.code == 0, answer.err
    assert "3 gaps filled by gmm (height 2, weight 1): filled.csv" in answer.out
    back, whole = pd.read_csv("filled.csv"), pd.read_csv("train.csv")
    assert list(back.columns) == list(whole.columns)
    assert (back[["id", "kind"]] == whole[["id", "kind"]]).all().all()
    np.testing.assert_allclose(back["height"], whole["height"], atol=0.4)
    record = json.loads(exnihilo("impute run holes.csv --out again.csv --json").out)
    assert record["filled"] == {"height": 2, "weight": 1}
    assert Path("again.csv").read_bytes() == Path("filled.csv").read_bytes()


def test_without_out_filling_is_judged(exnihilo: Command, holes: pd.DataFrame) -> None:
    assert exnihilo("train gmm train.csv -d drop=id -d label=kind -o components=1 --steps 1 --out run").code == 0
    record = json.loads(exnihilo("impute run --json").out)
    assert record["rows"]["gmm"]["error"]["value"] < record["rows"]["mean"]["error"]["value"]
    page = exnihilo("impute run --fraction 0.4 --mechanism block").out
    for part in ("gmm", "nearest rows", "Gaussian", "covered", "0.4 hidden (block)"):
        assert part in page
    for line, message in (
        ("impute run holes.csv --out filled.png", r"written as \.csv, \.tsv or \.parquet"),
        ("impute run --out filled.csv", r"Name the table to fill: exnihilo impute run SOURCE --out filled\.csv"),
        ("impute run nothing.csv --out filled.csv", r"no file 'nothing\.csv'"),
        ("impute run --fraction 2", r"fraction=2\.0 is not allowed"),
        ("balance run --out more.csv", r"gmm cannot be asked for a class"),
        ("represent run", r"gmm cannot encode"),
    ):
        answer = exnihilo(line)
        assert (answer.code, answer.out) == (2, ""), line
        assert re.search(message, answer.err), answer.err
    assert not Path("filled.csv").exists()


def test_codes_are_judged_as_features(exnihilo: Command, holes: pd.DataFrame) -> None:
    assert exnihilo("train autoencoder train.csv -d drop=id -d label=kind -o width=8 --steps 20 --out run").code == 0
    page = exnihilo("represent run --labels 2 --steps 5").out
    for part in ("codes of autoencoder (16)", "raw (2)", "PCA (2)", "2 labels per class", "from scratch"):
        assert part in page
    probe, start = json.loads(exnihilo("represent run --labels 2 --steps 5 --json").out)
    assert set(start["rows"]) == {"from the encoder", "from scratch"}
    assert len(probe["rows"]) == 3
    assert exnihilo("train autoencoder train.csv -d drop=id,kind -o width=8 --steps 2 --out blind").code == 0
    answer = exnihilo("represent blind")
    assert (answer.code, answer.out) == (2, "")
    assert "has no labels" in answer.err


def test_small_classes_are_filled_up(exnihilo: Command, holes: pd.DataFrame) -> None:
    assert exnihilo("train cvae train.csv -d drop=id -d label=kind -o width=8 --steps 20 --out run").code == 0
    answer = exnihilo("balance run --out more.csv")
    assert answer.code == 0, answer.err
    rows = pd.read_csv("more.csv")
    assert list(rows.columns) == ["height", "weight", "kind"]
    assert set(rows["kind"]) == {"tall"}
    assert f"{len(rows)} samples of cvae (tall {len(rows)}): more.csv" in answer.out
    assert "worst group" in answer.out
    record = json.loads(exnihilo("balance run --out more.csv --json").out)
    assert record["counts"]["tall"]["samples"] == len(rows)
    wrong = exnihilo("balance run --out more.png")
    assert wrong.code == 2
    assert "Use .csv or .tsv" in wrong.err
