"""One sentence: which model suits these data and why, or that the figures cannot tell."""

from __future__ import annotations

from collections.abc import Sequence

from exnihilo.evaluation.rows import COLUMNS, Row, short, winners
from exnihilo.evaluation.value import Value

FAR = 10.0  # a distance ratio beyond which nothing resembles the data
FEW = 100  # test examples below which a warning belongs into the sentence


def advise(rows: Sequence[Row], examples: int) -> str:
    """The advice for a comparison judged on so many test examples; never recommends a copier or a failed model."""
    if texts := [row for row in rows if row.ranked and _bits(row)]:
        return _by_bits(texts, examples)
    ratio = next(column for column in COLUMNS if column.key == "ratio")
    candidates = [row for row in rows if row.ranked and row.value("ratio")]
    if not candidates:
        return "No model could be recommended: none that can be sampled was judged without failing or copying."
    best = winners(candidates, ratio)
    chosen = [row for row in candidates if row.name in best]
    chosen.sort(key=_ratio)
    if not chosen:
        return "The figures cannot tell which model suits these data: they were taken by different protocols."
    if _ratio(chosen[0]) > FAR:
        start = (
            f"None of these models comes near the data yet: the nearest, {chosen[0].name}, is still"
            f" {short(_ratio(chosen[0]))} times as far from them as real data are; train longer"
        )
    elif len(chosen) == 1:
        start = _clear(chosen[0], candidates)
    else:
        start = _tie(chosen)
    if copiers := [row.name for row in rows if row.result and row.result.copies]:
        verb = "copies" if len(copiers) == 1 else "copy"
        start += (
            f" ({_and(copiers)} {verb} training examples and {'was' if len(copiers) == 1 else 'were'} not considered)"
        )
    if examples < FEW:
        start += f"; with only {examples} test examples, take this as a hint"
    return start + "."


def _bits(row: Row) -> Value | None:
    """Of a text, bits per character or byte."""
    return row.value("bits_per_character") or row.value("bits_per_byte")


def _by_bits(rows: Sequence[Row], examples: int) -> str:
    """Of texts by likelihood, which is exact, and sees what no distance between samples does: how words follow."""
    order = sorted(rows, key=lambda row: _bits(row).value)  # type: ignore[union-attr]
    best, value = order[0], _bits(order[0])
    assert value is not None
    unit = "character" if best.value("bits_per_character") else "byte"
    equal = [row.name for row in order if row is best or not _bits(row).differs_from(value)]  # type: ignore[union-attr]
    if len(equal) > 1:
        start = f"The figures cannot tell {_and(equal)} apart: they need {short(value.value)} bits a {unit}"
    else:
        start = f"{best.name} foresees this text best: it needs {short(value.value)} bits a {unit}"
        if len(order) > 1:
            start += f", the next, {order[1].name}, {short(_bits(order[1]).value)}"  # type: ignore[union-attr]
    if not best.deep and any(row.deep for row in rows):
        start += f", and no network in this comparison beats {'it' if len(equal) == 1 else 'them'} at this budget"
    return start + (f"; with only {examples} test examples, take this as a hint." if examples < FEW else ".")


def _clear(best: Row, candidates: Sequence[Row]) -> str:
    others = sorted((row for row in candidates if row is not best), key=_ratio)
    text = f"{best.name} suits these data best: its samples are {_interval(best)} times as far from them as real"
    text += " data are"
    if others:
        text += f", the next, {others[0].name}, {_interval(others[0])}"
    return text + _price(best, candidates)


def _tie(chosen: Sequence[Row]) -> str:
    text = (
        f"The figures cannot tell {_and([row.name for row in chosen])} apart: their samples are {_interval(chosen[0])}"
        f" to {_interval(chosen[-1])} times as far from the data as real data are"
    )
    classical = [row for row in chosen if not row.deep]
    if classical and any(row.deep for row in chosen):
        return text + f", so {classical[0].name}, the simplest of them, is enough"
    merits = [
        (_winner(chosen, "samples_per_second"), "is the fastest"),
        (_winner(chosen, "recall"), "is the most diverse"),
    ]
    told = [f"{name} {merit}" for name, merit in merits if name]
    return text + (f"; of them {_and(told)}" if told else "")


def _price(best: Row, candidates: Sequence[Row]) -> str:
    """What the best one costs: speed, or that it is not even a network."""
    if not best.deep and any(row.deep for row in candidates):
        return ", and no network in this comparison beats it at this budget"
    fast = max(candidates, key=lambda row: row.value("samples_per_second").value)  # type: ignore[union-attr]
    speed, top = best.value("samples_per_second"), fast.value("samples_per_second")
    if speed and top and top.value > 10 * speed.value:
        near = [row for row in candidates if row is not best and _ratio(row) < 2 * _ratio(best)]
        quick = [row for row in near if row.value("samples_per_second").value > 10 * speed.value]  # type: ignore[union-attr]
        if quick:
            other = min(quick, key=_ratio)
            times = other.value("samples_per_second").value / speed.value  # type: ignore[union-attr]
            return f"; if speed matters, {other.name} draws {short(float(f'{times:.1g}'))} times as fast"
        return f", at {short(speed.value)} samples a second"
    return ""


def _winner(rows: Sequence[Row], key: str) -> str:
    """The one row that wins a column beyond chance, or nothing."""
    names = winners(rows, next(column for column in COLUMNS if column.key == key))
    return names[0] if len(names) == 1 else ""


def _ratio(row: Row) -> float:
    value = row.value("ratio")
    return value.value if value else float("inf")


def _interval(row: Row) -> str:
    value = row.value("ratio")
    assert value is not None
    return f"{value.value:.2g} ({value.low:.2g}–{value.high:.2g})"


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
