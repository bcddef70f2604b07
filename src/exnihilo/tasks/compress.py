"""Compression without loss: a model says how probable each entry is, and a coder spends as many bits on it."""

from __future__ import annotations

import gzip
import hashlib
import lzma
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeGuard

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from exnihilo.core import DataError, DataSpec, GenerativeModel, Unsupported
from exnihilo.core.errors import some_models
from exnihilo.core.registry import list_models
from exnihilo.models.autoregressive.family import Autoregressive
from exnihilo.models.autoregressive.orders import AutoregressiveOrders
from exnihilo.nets.masked import at
from exnihilo.probability.likelihoods import Categorical
from exnihilo.tasks.coding import Decoder, check_alphabet, encode, ends_of, frequencies, shares
from exnihilo.tasks.judged import device_of
from exnihilo.training.hardware import use_threads

MAGIC = b"XNZ1"
BLOCK = 256  # examples whose entries are coded side by side
SEAL = struct.Struct(">4sI")  # magic, checksum of all that follows
HEAD = struct.Struct(">8sQIBB")  # model, entries, checksum of the levels, threads, length of torch's version


@dataclass(frozen=True)
class Compressed:
    """A file's content, and what it is to be measured by."""

    content: bytes
    ideal_bits: float  # -log2 p(x): what the model's probabilities allow, without header
    entries: int
    plain: bytes  # the same, uncompressed

    def sizes(self) -> dict[str, int]:
        """Bytes: this file, the ideal, gzip -9 and xz -9e of the plain data, and these themselves."""
        return {
            "this file": len(self.content),
            "ideal, -log2 p": math.ceil(self.ideal_bits / 8),
            "gzip -9": len(gzip.compress(self.plain, 9, mtime=0)),
            "xz -9e": len(lzma.compress(self.plain, preset=9 | lzma.PRESET_EXTREME)),
            "plain": len(self.plain),
        }


def compress(model: GenerativeModel, x: Tensor) -> Compressed:
    """Examples [N, *shape] of levels, in model space, as bytes from which `decompress` makes exactly these.

    Every entry is coded (see `coding.encode`) by p(x_i | x_1, ..., x_{i-1}), so the size is -log2 p(x) bits but for
    rounding and some forty bytes. A model with classes codes by the mixture over them, as its log_prob is. Caution: the
    reader must compute the very same probabilities - same weights, and the same torch on the same sort of machine;
    else the file is refused by its checksum. Unsupported, with the reason, for other models than autoregressive ones.
    """
    index = model.spec.to_levels(x).flatten(1)
    return _compressed(model, index, index.numel(), _plain(model.spec, index))


def decompress(model: GenerativeModel, content: bytes) -> Tensor:
    """[N, *shape] in model space. DataError where the model is another one, or the bytes are damaged."""
    index, entries = _decompressed(model, content)
    if entries != index.numel():
        what, how = ("recording", "sound") if model.spec.kind == "audio" else ("text", "text")
        raise DataError(f"The file holds a {what} of any length; read it by `decompress_{how}`.")
    return model.spec.from_levels(index).view(-1, *model.spec.shape)


def compress_text(model: GenerativeModel, content: bytes) -> Compressed:
    """A text of any length, as bytes in UTF-8 (of any kind, if the model's tokens are bytes), window by window."""
    ids = _ids(model, content)
    return _compressed(model, _rows(ids, model.spec.size), len(ids), content)


def _rows(index: Tensor, size: int) -> Tensor:
    """[N, size] levels [T] cut into windows, the last one filled up with 0."""
    return pad(index, (0, -len(index) % size)).view(-1, size)


def decompress_text(model: GenerativeModel, content: bytes) -> bytes:
    """The inverse of `compress_text`, and of `compress` for texts: its examples one after the other."""
    index, entries = _decompressed(model, content)
    spec = model.spec
    if spec.kind != "text":
        raise DataError(f"The file holds {spec.kind} data, no text; read it by `decompress`.")
    ids = index.flatten()[:entries]
    return bytes(ids.tolist()) if spec.tokens == "bytes" else spec.untokenize(ids).encode()


def compress_sound(model: GenerativeModel, wave: Tensor) -> Compressed:
    """A recording [T] in [-1, 1] of any length, at the model's rate, window by window.

    Kept are the model's levels, without loss: of the mu-law, so what is unpacked is the recording rounded to them, and
    packs to the same bytes again. Sizes of others are of these levels too, a byte each where there are up to 256.
    """
    if model.spec.kind != "audio":
        raise DataError(f"{model.recipe} was trained on {model.spec.kind} data, not on sound.")
    _require_conditionals(model)
    spec = replace(model.spec, shape=(1, len(wave)))
    index = spec.to_levels(spec.encode(wave[None])).flatten().long()
    return _compressed(model, _rows(index, model.spec.size), len(index), _plain(model.spec, index))


def rounding(spec: DataSpec, wave: Tensor) -> float:
    """How many dB what rounding to the levels takes from a recording [T] is weaker than the recording."""
    whole = replace(spec, shape=(1, len(wave)))
    lost = torch.from_numpy(whole.decode(whole.encode(wave[None]))[0]) - wave
    power, error = (float(part.square().mean().clamp(min=1e-15)) for part in (wave, lost))
    return 10 * math.log10(power / error)


def decompress_sound(model: GenerativeModel, content: bytes) -> Tensor:
    """[T] the inverse of `compress_sound`, and of `compress` for sound: its examples one after the other."""
    index, entries = _decompressed(model, content)
    if model.spec.kind != "audio":
        raise DataError(f"The file holds {model.spec.kind} data, no sound; read it by `decompress`.")
    spec = replace(model.spec, shape=(1, entries))
    return torch.from_numpy(spec.decode(spec.from_levels(index.flatten()[:entries]).view(1, 1, -1))[0])


def _ids(model: GenerativeModel, content: bytes) -> Tensor:
    spec = model.spec
    if spec.kind != "text":
        raise DataError(f"{model.recipe} was trained on {spec.kind} data, not on text.")
    if not content:
        raise DataError("The text is empty.")
    if spec.tokens == "bytes":
        return torch.tensor(list(content))
    try:
        text = content.decode()
    except UnicodeDecodeError as reason:
        raise DataError(
            f"This is no text in UTF-8 (byte {reason.start}). A model of -d tokens=bytes takes any file."
        ) from None
    ids = spec.tokenize(text)
    if spec.untokenize(ids) != text:
        raise DataError("The model's tokens do not give this text back, so it cannot be kept without loss.")
    return ids


def _plain(spec: DataSpec, index: Tensor) -> bytes:
    """Levels without compression: bits, bytes or words, whichever hold them; texts as they are."""
    if spec.kind == "text":
        return bytes(index.flatten().tolist()) if spec.tokens == "bytes" else spec.untokenize(index.flatten()).encode()
    values = index.numpy().ravel()
    if spec.levels == 2:
        return np.packbits(values.astype(np.uint8)).tobytes()
    return values.astype(np.uint8 if spec.levels <= 256 else ">u2" if spec.levels <= 65536 else ">u4").tobytes()


# -- probabilities ---------------------------------------------------------------------------------------------------


def _codes(model: GenerativeModel) -> TypeGuard[Autoregressive]:
    return isinstance(model, Autoregressive) and not isinstance(model, AutoregressiveOrders) and model.mass


def _require_conditionals(model: GenerativeModel) -> Autoregressive:
    """The model, if it says how probable every level is given those before it; else Unsupported with the reason."""
    if _codes(model):
        check_alphabet(model.spec.levels)
        return model
    if isinstance(model, AutoregressiveOrders):
        why = "it is an average over several orders, so its entries have no probabilities one by one"
    elif isinstance(model, Autoregressive):
        why = "its data are continuous, and only levels can be kept exactly (sound: -d levels=256)"
    elif "log_prob" not in model.capabilities:
        why = "it has no exact log_prob"
    else:
        why = "its log_prob is of whole examples, not entry by entry"
    able = [entry.name for entry in list_models() if issubclass(entry.model, Autoregressive)]
    raise Unsupported(
        f"{model.recipe} cannot compress: {why}. Models that can, of data with levels: {some_models(able)}."
    )


class Conditionals:
    """p(level | what was written so far) for n examples side by side, place by place, over all classes if there are."""

    def __init__(self, model: Autoregressive, n: int):
        self.model, self.levels = model, model.spec.levels
        device = device_of(model)
        if model.condition is None:
            self.walks = [model.network.walk(n, None)]
            self.log_weight = torch.zeros(n, 1, dtype=torch.float64, device=device)
        else:
            each = [torch.full((n,), label, device=device) for label in range(model.spec.classes)]
            self.walks = [model.network.walk(n, model.condition(n, label, None)) for label in each]
            self.log_weight = model.class_log_shares(next(model.parameters())).double().expand(n, -1)
        self.log_p = torch.empty(0)

    def predict(self, place: tuple[int, ...]) -> Tensor:
        """[n, levels] probabilities, in double precision on the processor."""
        self.log_p = torch.stack(
            [self._of_levels(walk.predict(place)) for walk in self.walks], dim=1
        )  # [n, classes, K]
        mixed = (self.log_weight.log_softmax(dim=1)[:, :, None] + self.log_p).logsumexp(dim=1)
        return mixed.softmax(dim=1).cpu()

    def write(self, place: tuple[int, ...], index: Tensor) -> None:
        """Levels [n] are what stands there."""
        index = index.to(self.log_weight.device)
        here = index[:, None, None].expand(-1, self.log_p.shape[1], 1)
        self.log_weight = self.log_weight + self.log_p.gather(2, here)[:, :, 0]
        for walk in self.walks:
            walk.write(place, self.model.spec.from_levels(index))

    def _of_levels(self, parameters: Tensor) -> Tensor:
        """[n, K] log-probabilities from the parameters [n, per_entry] of an entry."""
        likelihood, spec = self.model.likelihood, self.model.spec
        if isinstance(likelihood, Categorical):
            return parameters.double().log_softmax(dim=1)
        values = spec.from_levels(torch.arange(self.levels, device=parameters.device)).double()
        every = parameters.double()[:, :, None].expand(-1, -1, self.levels)
        return likelihood.entries(every, values.expand(len(parameters), 1, -1))[:, 0].log_softmax(dim=1)


def _blocks(model: Autoregressive, rows: int) -> Iterator[tuple[int, int]]:
    """Rows from and to that are coded side by side: the same for writer and reader."""
    size = min(BLOCK, model.chunk)
    return ((start, min(start + size, rows)) for start in range(0, rows, size))


@torch.no_grad()
def _compressed(model: GenerativeModel, index: Tensor, entries: int, plain: bytes) -> Compressed:
    """Levels [N, size], of which the first `entries` are coded."""
    model = _require_conditionals(model.eval())
    spec, bits = model.spec, 0.0
    starts: list[int] = []
    sizes: list[int] = []
    for first, last in _blocks(model, len(index)):
        conditionals = Conditionals(model, last - first)
        block = index[first:last].view(-1, *spec.shape)
        for number, place in enumerate(model.network.order()):
            p, chosen = conditionals.predict(place), block[at(place)]
            counted = _counted(spec, first, last, number, entries)
            start, size = shares(frequencies(p), chosen)
            starts += start[:counted]
            sizes += size[:counted]
            bits -= float(p.gather(1, chosen[:, None])[:counted].log2().sum())
            conditionals.write(place, chosen)
    version = torch.__version__.encode()
    threads = min(torch.get_num_threads(), 255)
    head = HEAD.pack(fingerprint(model), entries, _checksum(index), threads, len(version))
    body = head + version + encode(starts, sizes)
    return Compressed(SEAL.pack(MAGIC, zlib.crc32(body)) + body, bits, entries, plain)


def _counted(spec: DataSpec, first: int, last: int, number: int, entries: int) -> int:
    """How many rows of a block have a coded entry of this number: all but the last, perhaps, of any length."""
    return last - first if (last - 1) * spec.size + number < entries else last - first - 1


@torch.no_grad()
def _decompressed(model: GenerativeModel, content: bytes) -> tuple[Tensor, int]:
    """Levels [N, size] and how many of them were coded; the rest is 0."""
    model = _require_conditionals(model.eval())
    entries, checksum, threads, version, coded = _opened(model, content)
    spec, decoder = model.spec, Decoder(coded)
    index = torch.zeros(-(-entries // spec.size), spec.size, dtype=torch.int64)
    with use_threads(threads):
        for first, last in _blocks(model, len(index)):
            conditionals = Conditionals(model, last - first)
            block = index[first:last].view(-1, *spec.shape)
            for number, place in enumerate(model.network.order()):
                ends = ends_of(frequencies(conditionals.predict(place)))
                counted = _counted(spec, first, last, number, entries)
                chosen = torch.zeros(last - first, dtype=torch.int64)
                chosen[:counted] = torch.tensor([decoder.take(row) for row in ends[:counted]], dtype=torch.int64)
                block[at(place)] = chosen
                conditionals.write(place, chosen)
    if not decoder.finished or _checksum(index) != checksum:
        raise DataError(
            f"This machine computes other probabilities than the one that wrote the file (with torch {version}; this is"
            f" {torch.__version__}), so it cannot be read here. Use the same torch on the same sort of machine."
        )
    return index, entries


def _opened(model: Autoregressive, content: bytes) -> tuple[int, int, int, str, bytes]:
    """Entries, checksum, threads, torch's version, and what was coded."""
    if not content.startswith(MAGIC):
        raise DataError("This is no file that `exnihilo compress` wrote.")
    body = content[SEAL.size :]
    if len(body) < HEAD.size or SEAL.unpack(content[: SEAL.size])[1] != zlib.crc32(body):
        raise DataError("The file is damaged: its checksum does not match. Take another copy of it.")
    model_id, entries, checksum, threads, length = HEAD.unpack(body[: HEAD.size])
    if model_id != fingerprint(model):
        raise DataError(
            f"The file was written by another model than this {model.recipe} ({model_id.hex()}, not"
            f" {fingerprint(model).hex()}). Name the run it was written with."
        )
    start = HEAD.size + length
    return entries, checksum, threads, body[HEAD.size : start].decode(), body[start:]


def _checksum(index: Tensor) -> int:
    return zlib.crc32(index.numpy().astype("<i8").tobytes())


def fingerprint(model: GenerativeModel) -> bytes:
    """Eight bytes of the SHA-256 of a model's recipe, shape and weights."""
    content = hashlib.sha256(f"{model.recipe} {model.spec.shape} {model.spec.levels}".encode())
    for name, tensor in sorted(model.state_dict().items()):
        content.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return content.digest()[:8]
