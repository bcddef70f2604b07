"""Detecting and attacking from the shell."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.cli.conftest import Command


@pytest.fixture
def payments(folder: Path) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    amount = rng.normal(size=300)
    frame = pd.DataFrame(
        {"amount": amount, "tax": 0.2 * amount + 0.01 * rng.normal(size=300), "shop": ["a", "b"] * 150}
    )
    frame["state"] = "fine"
    frame.loc[270:, "tax"] += rng.choice([-1, 1], size=30)
    frame.loc[270:, "state"] = "fraud"
    frame.to_csv("train.csv", index=False)
    return frame


def test_the_classes_left_out_of_training_are_found(exnihilo: Command, payments: pd.DataFrame) -> None:
    options = "-d label=state -d without=fraud -o latent=2"
    assert exnihilo(f"train pca train.csv {options} --steps 1 --out run").code == 0
    answer = exnihilo("detect run --false-alarms 0.1")
    assert answer.code == 0, answer.err
    for part in ("pca (reconstruction)", "isolation forest", "AUROC", "The most anomalous", "fraud", "Flagged"):
        assert part in answer.out
    scores = pd.read_csv("previews/detect-run/scores.csv")
    assert set(scores.loc[scores["anomalous"] == 1, "row"]) == set(range(270, 300))
    assert Path("previews/detect-run/scores.png").exists()
    record = json.loads(exnihilo("detect run --json --out other").out)
    assert record["judged"]["rows"]["pca (reconstruction)"]["AUROC"]["value"] > 0.9
    assert record["files"] == ["other/scores.csv", "other/scores.png"]
    whole = json.loads(exnihilo("detect run train.csv --json --out again").out)
    assert whole["judged"] == record["judged"]


def test_rows_of_a_file_are_scored(exnihilo: Command, payments: pd.DataFrame) -> None:
    assert exnihilo("train gmm train.csv -d label=state -d without=fraud --steps 1 -o components=1 --out run").code == 0
    payments[["shop", "tax", "amount"]].iloc[[0, 280]].to_csv("new.csv", index=False)
    answer = exnihilo("detect run new.csv --false-alarms 0.1 --out checked.csv")
    assert answer.code == 0, answer.err
    assert "Flagged 1 of 2" in answer.out
    assert "rarer than 1 in" in answer.out
    assert pd.read_csv("checked.csv")["flagged"].tolist() == [0, 1]
    judged = exnihilo("detect run --anomalies train.csv --out all")
    assert judged.code == 0
    assert "of train.csv" in judged.out
    named = exnihilo("detect run train.csv --anomalous fraud --json --out named")
    assert json.loads(named.out)["judged"]["rows"]["gmm (density)"]["AUROC"]["value"] > 0.9


def test_mistakes_of_detecting(exnihilo: Command, payments: pd.DataFrame) -> None:
    assert exnihilo("train gmm train.csv -d label=state --steps 1 -o components=1 --out run").code == 0
    for line, message in (
        ("detect run --anomalous fraud", r"trained on examples of fraud.*train gmm train\.csv -d without=fraud"),
        ("detect run --anomalous frau", r"There is no class 'frau'\. Did you mean 'fraud'"),
        ("detect run nothing.csv", r"no file 'nothing\.csv'"),
        ("detect run --score projection", r"gmm has no projection to score by.*density"),
        ("detect run --false-alarms 2", r"false_alarms=2\.0 is not allowed"),
        ("detect run --out x.txt", r"ends in \.csv or \.png"),
        ("detect run train.csv --anomalies train.csv", r"leave SOURCE and --anomalous out"),
        ("detect nowhere", r"nowhere"),
        ("attack run", r"gmm neither classifies nor encodes"),
        ("train gmm train.csv -d without=fraud --steps 1 --out other", r"no labels.*-d label=COLUMN"),
    ):
        answer = exnihilo(line)
        assert (answer.code, answer.out) == (2, ""), line
        assert re.search(message, answer.err), answer.err


def test_a_classifier_is_attacked(exnihilo: Command, payments: pd.DataFrame) -> None:
    assert exnihilo("train m2 digits -o width=16 --steps 60 --out run").code == 0
    answer = exnihilo("attack run --eps 0.1 --out attacked.png")
    assert answer.code == 0, answer.err
    for part in ("as given", "random signs", "fgsm", "accuracy", "mean change", "eps 0.1 of the range"):
        assert part in answer.out
    assert Path("attacked.png").read_bytes()[:4] == b"\x89PNG"
    record = json.loads(exnihilo("attack run --method universal --steps 2 --target 3 --json").out)
    assert "reached target" in record["rows"]["universal"]
    assert record["picture"] == "previews/attack-run.png"
    assert exnihilo("train autoencoder train.csv -d label=state -o width=8 --steps 5 --out coder").code == 0
    told = exnihilo("attack coder --classifier-steps 20")
    assert told.code == 0, told.err
    assert "autoencoder is no classifier" in told.out
    for line, message in (
        ("attack run --eps 0", r"eps=0\.0 is not allowed"),
        ("attack run --target ten", r"There is no class 'ten'"),
        ("attack run --out x.jpg", r"ends in \.png"),
        ("attack coder --out x.png", r"not shown as a picture"),
    ):
        wrong = exnihilo(line)
        assert (wrong.code, wrong.out) == (2, ""), line
        assert re.search(message, wrong.err), wrong.err
