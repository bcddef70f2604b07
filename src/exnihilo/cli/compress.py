"""`exnihilo compress` and `exnihilo decompress`: data kept without loss in few bytes, by a model that foresees them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from exnihilo.cli.judged import trained
from exnihilo.cli.output import console, print_json, remark
from exnihilo.cli.parameters import DataOptions, Json, RunPath, Threads

if TYPE_CHECKING:
    from torch import Tensor

    from exnihilo.core import GenerativeModel
    from exnihilo.tasks import Compressed


def compress(
    run: RunPath,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="[SOURCE]",
            help="A text file, kept to the last byte; a recording, kept at the model's levels; or other data, by"
            " default those of the run.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE.xnz", help="Where it goes.")] = Path("compressed.xnz"),
    split: Annotated[
        Literal["test", "validation", "train", "all"] | None,
        typer.Option(help="The examples that are kept; by default all of SOURCE, or the run's test split."),
    ] = None,
    d: DataOptions = None,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Keep data without loss in as few bytes as an autoregressive model's probabilities allow; beside gzip and xz.

    Whoever unpacks it needs the run, the same torch and the same sort of machine. A recording of any length is first
    rounded to the model's levels (-d levels=256 in training: the mu-law), from then on nothing is lost.

        exnihilo compress runs/gpt letter.txt --out letter.xnz

        exnihilo decompress runs/gpt letter.xnz --out letter.txt

        exnihilo compress runs/wavenet speech.wav --out speech.xnz
    """
    from exnihilo.data.render import write_whole

    with trained(run, threads) as (model, record):
        kept = _kept(model, record, source, split, d)
    write_whole(out, lambda draft: _write(kept.content, draft))
    weights = (run / "weights.safetensors").stat().st_size
    if json:
        return print_json(
            {"file": str(out), "entries": kept.entries, "bytes": kept.sizes(), "model": {"bytes": weights}}
        )
    _print(kept, model, out, weights)


def decompress(
    run: RunPath,
    file: Annotated[Path, typer.Argument(metavar="FILE.xnz", help="What `exnihilo compress` wrote with this run.")],
    out: Annotated[
        Path,
        typer.Option(
            metavar="PATH",
            help="Texts: any file. A recording: a .wav. Else as of samples: .npz, .csv, .png or a folder.",
        ),
    ],
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Unpack what `compress` packed, exactly.

    exnihilo decompress runs/pixelcnn digits.xnz --out digits.npz
    """
    from exnihilo.core import DataError
    from exnihilo.data.audio_files import save_wave
    from exnihilo.data.render import save_samples, write_whole
    from exnihilo.tasks import decompress, decompress_sound, decompress_text

    if not file.is_file():
        raise DataError(f"There is no file {str(file)!r}.")
    content = file.read_bytes()
    with trained(run, threads) as (model, _):
        if model.spec.kind == "text":
            text = decompress_text(model, content)
            files = [write_whole(out, lambda draft: _write(text, draft))]
        elif model.spec.kind == "audio" and out.suffix.lower() == ".wav":
            wave = decompress_sound(model, content).numpy()
            files = [write_whole(out, lambda draft: save_wave(wave, model.spec.rate, draft, {}))]
        else:
            files = save_samples(model.spec, decompress(model, content), out)
    if json:
        return print_json({"files": [str(path) for path in files]})
    print(f"{file} unpacked: {files[0] if len(files) == 1 else out}")


def _kept(
    model: GenerativeModel, record: dict[str, Any], source: str | None, split: str | None, d: list[str] | None
) -> Compressed:
    from exnihilo.cli.looking import load_source
    from exnihilo.core import DataError
    from exnihilo.tasks import compress, compress_sound, compress_text
    from exnihilo.tasks.judged import fitting

    if source is not None and model.spec.kind == "text" and Path(source).is_file():
        return compress_text(model, Path(source).read_bytes())
    if source is not None and model.spec.kind == "audio" and Path(source).is_file():
        return compress_sound(model, _recording(Path(source), model))
    data = load_source(record, source, d)
    if data.mask is not None:
        raise DataError("These data have missing values, which no level stands for, so they cannot be kept.")
    split = split or ("test" if source is None else "all")
    return compress(model, fitting(model, data if split == "all" else data.split(split)).first().x)


def _recording(path: Path, model: GenerativeModel) -> Tensor:
    """[T] the samples; a DataError where reading them would lose more than rounding does."""
    from exnihilo.core import DataError
    from exnihilo.data.audio_files import look, read_wave
    from exnihilo.tasks.compress import rounding

    found, rate = look([path], [path.name])[0], round(model.spec.rate)
    if found.rate != rate or found.channels > 1:
        raise DataError(
            f"{path.name} has {found.channels} channel(s) at {found.rate:,} samples a second; {model.recipe} keeps one"
            f" at {rate:,}. Convert it first: what resampling and mixing lose would not come back."
        )
    wave = read_wave(found, rate)
    if model.spec.levels:
        remark(
            f"Rounded to the model's {model.spec.levels:,} levels of the mu-law, an error"
            f" {rounding(model.spec, wave):.0f} dB below the sound; from there on nothing is lost."
        )
    return wave


def _write(content: bytes, draft: Path) -> None:
    draft.write_bytes(content)


def _print(kept: Compressed, model: GenerativeModel, out: Path, weights: int) -> None:
    from rich.table import Table
    from rich.text import Text

    unit = {"text": "token" if model.spec.tokens == "bpe" else model.spec.tokens.removesuffix("s")}
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    for heading in ("bytes", f"bits per {unit.get(model.spec.kind, 'entry')}"):
        table.add_column(heading, justify="right")
    for name, size in kept.sizes().items():
        table.add_row(Text(name, "green"), f"{size:,}", f"{8 * size / kept.entries:.3f}")
    page = console()
    page.print(Text(f"{kept.entries:,} entries by {model.recipe}: {out}", "bold green"))
    page.print(table)
    page.print(Text("Mind  ", "bold") + Text(f"the model itself, {weights:,} bytes of weights, is not counted"))
