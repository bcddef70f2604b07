"""`exnihilo detect`: how anomalous examples are, and how well anomalies are told from normal ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from exnihilo.cli.judged import print_judged, trained
from exnihilo.cli.output import console, print_json, remark
from exnihilo.cli.parameters import DataOptions, Json, RunPath, Seed, Threads, pairs

if TYPE_CHECKING:
    from exnihilo.core import GenerativeModel
    from exnihilo.tasks import Detected

TABLES = (".csv", ".tsv", ".parquet", ".gz")


Looked = Annotated[
    str | None,
    typer.Argument(
        metavar="[SOURCE]",
        help="What to look at: rows or pictures to be scored, or - with --anomalous - labelled data. By default the"
        " run's own data, of which the test split is looked at.",
    ),
]
Anomalous = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CLASS",
        help="A class that counts as anomalous; may be given several times. By default those that the run was trained"
        " without (train ... -d without=CLASS).",
    ),
]
Anomalies = Annotated[
    str | None, typer.Option(metavar="SOURCE", help="Other data, all of whose examples are anomalous.")
]
Way = Annotated[
    Literal["density", "bound", "energy", "reconstruction", "projection"] | None,
    typer.Option(help="By default the first of these that the model has."),
]
Rate = Annotated[float, typer.Option(help="The share of normal examples that may be flagged.")]
Place = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH", help="A folder for scores.csv and the pictures, or one .csv or .png file; by default a folder."
    ),
]


def detect(
    run: RunPath,
    source: Looked = None,
    anomalous: Anomalous = None,
    anomalies: Anomalies = None,
    score: Way = None,
    false_alarms: Rate = 0.01,
    out: Place = None,
    d: DataOptions = None,
    seed: Seed = 0,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Say how rare examples are among normal ones: "one in N", by a trained model, calibrated on held-out data.

    Where anomalies are known, the model is judged beside an isolation forest, the local outlier factor and PCA.

        exnihilo train vae digits -d without=7 --out runs/no7

        exnihilo detect runs/no7

        exnihilo detect runs/payments new_payments.csv --false-alarms 0.001 --out checked.csv
    """
    from exnihilo.tasks import detect
    from exnihilo.tasks.detect import check_place

    out = out or Path("previews") / f"detect-{run.resolve().name}"
    check_place(out)  # before the work
    with trained(run, threads) as (model, record):
        asked = _asked(model, record["data"], source, anomalous or [], anomalies, d)
        detected = detect(model, **asked, score=score, false_alarms=false_alarms, seed=seed)
    paths = detected.save(out)
    if json:
        return print_json({"files": [str(path) for path in paths], **detected.to_json()})
    _print(detected)
    for path in paths:
        remark(f"Written: {path}")


def _asked(
    model: GenerativeModel,
    own: dict[str, Any],
    source: str | None,
    anomalous: list[str],
    anomalies: str | None,
    d: list[str] | None,
) -> dict[str, Any]:
    """What is normal, what is anomalous and what is looked at, as `detect` takes it."""
    from exnihilo.core import OptionError

    if anomalies is not None:
        if source or anomalous:
            raise OptionError("--anomalies goes with the run's own data: leave SOURCE and --anomalous out.")
        return {"data": _load(own, None, None), "anomalies": _load(own, anomalies, d)}
    if source == own["source"] and not d:
        source = None
    if source is None and not anomalous:
        anomalous = [name for name in str(own["options"].get("without", "")).split(",") if name]
    if anomalous:
        return {"data": _labelled(own, source, d), "anomalous": anomalous}
    rows = None if source is None else _rows(model, own, source, d)
    return {"data": _load(own, None, d if source is None else None), "rows": rows}


def _load(own: dict[str, Any], source: str | None, d: list[str] | None) -> Any:
    """The run's data read as they were, or another source, read alike as far as its loader takes the same options."""
    import exnihilo as xn
    from exnihilo.data.sources import data_options

    if source is None:
        return xn.load_data(own["source"], **(own["options"] | pairs(d, "-d")))
    alike = {name: value for name, value in own["options"].items() if name in data_options(source)}
    return xn.load_data(source, **(alike | pairs(d, "-d")))


def _labelled(own: dict[str, Any], source: str | None, d: list[str] | None) -> Any:
    """Data with all their classes."""
    options = {name: value for name, value in own["options"].items() if name != "without"}
    return _load({**own, "options": options}, source, d)


def _rows(model: GenerativeModel, own: dict[str, Any], source: str, d: list[str] | None) -> Any:
    """All examples of a source, in model space; of a table, also a single row."""
    from exnihilo.data.rows import read_frame
    from exnihilo.tasks import rows_of_table
    from exnihilo.tasks.judged import fitting

    if model.spec.kind == "table" and Path(source).suffix.lower() in TABLES:
        reading = {name: own["options"][name] for name in ("separator", "decimal", "header") if name in own["options"]}
        return rows_of_table(model.spec, read_frame(source, **(reading | pairs(d, "-d"))))
    return fitting(model, _load(own, source, d)).first().x


def _print(detected: Detected) -> None:
    """The table, the most anomalous examples, and what was flagged."""
    from rich.table import Table
    from rich.text import Text

    if detected.judged is not None:
        print_judged(detected.judged)
    blamed = detected.blamed()
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("row", "score", "among normal ones", "", "mostly from" if any(blamed) else ""):
        table.add_column(heading, justify="right" if heading in ("row", "score", "among normal ones") else "left")
    for place in detected.top():
        truth = "" if detected.anomalous is None else ("anomalous" if detected.anomalous[place] else "normal")
        score = float(detected.scores[place])
        words = detected.rareness.words(score)
        table.add_row(str(int(detected.row[place])), f"{score:.4g}", words, truth, blamed[place])
    page = console()
    page.print(Text("\nThe most anomalous", "bold green"))
    page.print(table)
    threshold, rate = detected.rareness.threshold(detected.false_alarms)
    page.print(
        f"Flagged {int(detected.flagged.sum())} of {len(detected.x)}: {detected.score} above {threshold:.4g}. Of normal"
        f" examples {rate:.3g} may be, by {detected.rareness.n} held out."
    )
    if detected.judged is None:
        for note in detected.notes:
            page.print(Text("Mind  ", "bold") + Text(note))
