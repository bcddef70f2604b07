"""Text: files cut into tokens, and these into windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor

from exnihilo.core import DataError, DataSpec
from exnihilo.core.tokens import BYTES, Pairs, Tokens, byte_pairs, encode_text
from exnihilo.data.dataset import Dataset, assemble
from exnihilo.data.folders import choose_labels, find_files, folders_say
from exnihilo.data.labels import Labels
from exnihilo.data.metadata import read_metadata
from exnihilo.data.windows import Cutter, Windows, deal_recordings

TEXT_SUFFIXES = (".txt",)
BPE_SIZE = 1024
LEARNT = 0.7  # of a text that is cut into blocks: what lies safely within the training block

Window = Annotated[int, 2, 65_536]
Stride = Annotated[int, 1, 65_536]
Size = Annotated[int, 2, 200_000]


def text_file(
    path: Path,
    *,
    tokens: Tokens = "characters",
    size: Size | None = None,
    window: Window = 128,
    stride: Stride | None = None,
) -> Dataset:
    """One .txt file in UTF-8. tokens: characters, bytes, or bpe, pairs learnt from its first 70 %, `size` tokens in all
    (1,024 if not given). window: tokens an example. stride: from one training window to the next; a quarter of a
    window if not given. Windows to validate and test on do not overlap."""
    return text_dataset({path.name: _read(path, tokens)}, tokens=tokens, size=size, window=window, stride=stride)


def text_folder(
    folder: Path,
    *,
    tokens: Tokens = "characters",
    size: Size | None = None,
    window: Window = 128,
    stride: Stride | None = None,
    label: str | None = "auto",
) -> Dataset:
    """A folder of .txt files, whole ones to each split where there are eight or more; see `text_file`.

    label: auto (the label in metadata.csv, else the subfolder), none, or a column of the metadata.
    """
    notes: list[str] = []
    names = find_files(folder, TEXT_SUFFIXES, "texts", 1, notes)
    own, classes = folders_say(names, "texts", notes)
    labels = choose_labels(label, classes, read_metadata(folder, names, label, notes), notes)
    texts = {name: _read(folder / name, tokens) for name in names}
    return text_dataset(
        texts, tokens=tokens, size=size, window=window, stride=stride, labels=labels, own=own, notes=notes
    )


def text_dataset(
    texts: Mapping[str, bytes],
    *,
    tokens: Tokens = "characters",
    size: int | None = None,
    window: int = 128,
    stride: int | None = None,
    labels: Labels | None = None,
    own: Tensor | None = None,
    notes: Sequence[str] = (),
) -> Dataset:
    """Texts by name, as bytes in UTF-8 (checked by `_read`, or of any kind for tokens=bytes); see `text_folder`."""
    if size is not None and tokens != "bpe":
        raise DataError(f"size={size} is the vocabulary of tokens=bpe; {tokens} have the one they have. Leave it out.")
    said = list(notes)
    names = list(texts)
    part = deal_recordings(names, None if labels is None else labels.values, own)
    streams, vocabulary, merges = _tokenized(texts, tokens, size or BPE_SIZE, part, said)
    lengths = [len(stream) for stream in streams]
    cutter = Cutter(window, stride or max(1, window // 4), "texts", "tokens" if tokens == "bpe" else tokens)
    windows = cutter.cut(names, lengths, part, said)
    class_names = () if labels is None else labels.names
    spec = DataSpec(
        "text", (window,), len(vocabulary), len(class_names), class_names,
        vocabulary=vocabulary, tokens=tokens, merges=merges,
    )  # fmt: skip
    label = None if labels is None else labels.values[windows.recording]
    return assemble(spec, Windows(torch.cat(streams), windows.starts, window), windows.part, label=label, notes=said)


def _read(path: Path, tokens: Tokens) -> bytes:
    """The content; where it is read as characters, valid UTF-8 with \\n between lines."""
    try:
        content = path.read_bytes()
    except OSError as reason:
        raise DataError(f"{path} cannot be read: {reason}.") from None
    if tokens == "bytes":
        return content
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as reason:
        raise DataError(
            f"{path} is no text in UTF-8: byte {reason.start} is {content[reason.start]:02X}. Save it as UTF-8, or use"
            " -d tokens=bytes, which takes any file."
        ) from None
    return text.replace("\r\n", "\n").encode()


def _tokenized(
    texts: Mapping[str, bytes], tokens: Tokens, size: int, part: Tensor | None, notes: list[str]
) -> tuple[list[Tensor], tuple[str, ...], Pairs]:
    """The ids of every text, the vocabulary and what is merged."""
    total = sum(map(len, texts.values()))
    if tokens == "bytes":
        notes.append(f"{total:,} bytes (-d tokens=characters or bpe reads them as text).")
        return [torch.frombuffer(bytearray(text), dtype=torch.uint8) for text in texts.values()], BYTES, ()
    words = [text.decode() for text in texts.values()]
    alphabet = tuple(sorted(set().union(*words)))
    merges: Pairs = ()
    vocabulary = alphabet
    if tokens == "bpe":
        if len(alphabet) >= size:
            raise DataError(
                f"size={size} is not allowed: the text has {len(alphabet)} different characters, and every one needs a"
                f" token before pairs of them get any. Use -d size={2 * len(alphabet)} or more, or tokens=bytes."
            )
        learnt = [
            text[: round(LEARNT * len(text))] if part is None else text
            for place, text in enumerate(words)
            if part is None or part[place] == 0
        ]
        vocabulary, merges = _learn_pairs(learnt, alphabet, size)
    kind = torch.uint8 if len(vocabulary) <= 256 else torch.int32  # of what is held; batches are int64
    streams = [torch.tensor(encode_text(tokens, vocabulary, merges, text), dtype=kind) for text in words]
    count = sum(map(len, words))
    notes.append(f"{count:,} characters, {len(alphabet)} different ones: {_shown(alphabet)}.")
    if tokens == "bpe":
        each = count / max(1, sum(map(len, streams)))
        notes.append(f"{len(vocabulary):,} tokens, learnt from the training part; on average {each:.2f} characters.")
    return streams, vocabulary, merges


def _learn_pairs(texts: Sequence[str], alphabet: Sequence[str], size: int) -> tuple[tuple[str, ...], Pairs]:
    """A vocabulary of `size` tokens, or as many as there are pairs that occur twice, and the merges that make them."""
    import json

    tokenizer = byte_pairs()
    from tokenizers import trainers

    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=list(alphabet), show_progress=False, min_frequency=2
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    place: dict[str, int] = model["vocab"]
    merges = tuple((place[left], place[right]) for left, right in model["merges"])
    return tuple(sorted(place, key=place.__getitem__)), merges


def _shown(alphabet: Sequence[str], most: int = 100) -> str:
    """The characters, invisible ones by their number."""
    words = [sign if sign.isprintable() and not sign.isspace() else f"U+{ord(sign):04X}" for sign in alphabet]
    return " ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
