"""Text as token ids and back: characters, bytes, or byte pairs that were learnt from the user's text."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Literal

from exnihilo.core.errors import DataError

Tokens = Literal["characters", "bytes", "bpe"]
Pairs = tuple[tuple[int, int], ...]

#: The names of the 256 bytes: a printable character, or its number.
BYTES = tuple(chr(number) if 32 <= number < 127 else f"<{number:02X}>" for number in range(256))

#: Pieces that no token crosses: words, numbers and signs with the blank before them, and runs of blanks.
PIECES = r" ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def encode_text(tokens: Tokens, vocabulary: Sequence[str], merges: Pairs, text: str) -> list[int]:
    """The ids, places in the vocabulary, of a text of any length; a character that it lacks is a DataError."""
    if tokens == "bytes":
        return list(text.encode())
    place = _places(tuple(vocabulary))
    if unseen := set(text) - place.keys():
        first = min(text.index(sign) for sign in unseen)
        raise DataError(
            f"{text[first]!r} (U+{ord(text[first]):04X}, character {first} of the text) was not seen in training, so"
            " there is no token for it. Leave it out, or train with -d tokens=bytes, which know every character."
        )
    if tokens == "characters":
        return [place[sign] for sign in text]
    return _known_pairs(tuple(vocabulary), merges).encode(text).ids  # type: ignore[no-any-return]


def decode_text(tokens: Tokens, vocabulary: Sequence[str], ids: Sequence[int]) -> str:
    """The text of some ids. Bytes that form no UTF-8, such as half a character at a border, become U+FFFD."""
    return bytes(ids).decode(errors="replace") if tokens == "bytes" else "".join(vocabulary[number] for number in ids)


@functools.lru_cache(maxsize=4)
def _places(vocabulary: tuple[str, ...]) -> dict[str, int]:
    return {token: number for number, token in enumerate(vocabulary)}


@functools.lru_cache(maxsize=4)
def _known_pairs(vocabulary: tuple[str, ...], merges: Pairs) -> Any:
    return byte_pairs(_places(vocabulary), [(vocabulary[left], vocabulary[right]) for left, right in merges])


def byte_pairs(vocabulary: dict[str, int] | None = None, merges: Sequence[tuple[str, str]] | None = None) -> Any:
    """A `tokenizers.Tokenizer` that joins pairs of neighbouring tokens in the order of `merges`, within pieces of text.

    Sennrich et al., 2016, arXiv:1508.07909; here from characters up. Without arguments one to be trained. From the
    `text` extra.
    """
    try:
        from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    except ImportError:
        raise DataError("tokens=bpe needs the text extra: pip install 'exnihilo[text]'.") from None
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECES), "isolated")
    return tokenizer
