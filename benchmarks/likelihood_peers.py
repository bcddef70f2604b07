"""Pairs of ours and a peer's for the speed part of likelihood.py: the same work at equal sizes, see speed.py."""

from __future__ import annotations

from collections.abc import Callable

import torch
from speed import Pair, descent, loss_of, pair
from speed import rbm as machines
from torch import Tensor, nn

from exnihilo.core import DataSpec, GenerativeModel, create

ENTRIES, WIDTH = 64, 256


def flows(kind: str) -> tuple[GenerativeModel, nn.Module, str]:
    """Autoregressive flows of 64 numbers: ours and zuko's, of as many maps, hidden units and bins."""
    import zuko

    hidden = (WIDTH, WIDTH)
    if kind == "maf":
        ours = create("maf", DataSpec("vector", (ENTRIES,)), width=WIDTH, depth=5)
        return ours, zuko.flows.MAF(ENTRIES, transforms=5, hidden_features=hidden), "5 affine maps"
    options = {"transform": "autoregressive", "width": WIDTH, "depth": 3, "bins": 8}
    ours = create("nsf", DataSpec("vector", (ENTRIES,)), **options)
    theirs = zuko.flows.NSF(ENTRIES, bins=8, transforms=3, hidden_features=hidden)
    return ours, theirs, "3 autoregressive maps of splines of 8 bins; ours scales first and has linear maps between"


def density(kind: str) -> Pair:
    """log p(x) of a batch."""
    ours, theirs, note = flows(kind)
    x = torch.randn(1024, ENTRIES)
    ours.eval()

    def our_work() -> Tensor:
        with torch.no_grad():
            return ours.log_prob(x)

    def their_work() -> Tensor:
        with torch.no_grad():
            return theirs().log_prob(x)

    return pair(f"{kind} log_prob", "zuko", our_work, their_work, (ours, theirs), f"1024 rows of 64; {note}")


def step(kind: str) -> Pair:
    """Minus log p(x), backward, AdamW."""
    ours, theirs, note = flows(kind)
    x = torch.randn(64, ENTRIES)

    def their_loss() -> Tensor:
        return -theirs().log_prob(x).mean()

    work = descent(ours, loss_of(ours, x)), descent(theirs, their_loss)
    return pair(f"{kind} training step", "zuko", *work, (ours, theirs), f"batch 64 of 64 numbers; {note}")


def sampling(kind: str) -> Pair:
    """Samples, entry by entry."""
    ours, theirs, note = flows(kind)

    def their_work() -> Tensor:
        with torch.no_grad():
            return theirs().sample((64,))

    work = (lambda: ours.sample(64, seed=0)), their_work
    return pair(f"{kind} sampling", "zuko", *work, (ours, theirs), f"64 rows of 64; {note}")


def tokens(texts: int) -> Pair:
    """Texts of 128 tokens, token after token, with what was read kept (keys and values)."""
    from transformers import GPT2Config, GPT2LMHeadModel

    length, width, depth, signs = 128, 128, 4, tuple(map(chr, range(32, 97)))
    spec = DataSpec("text", (length,), len(signs), vocabulary=signs, tokens="characters")
    ours = create("gpt", spec, width=width, depth=depth).eval()
    size = {"n_embd": width, "n_layer": depth, "n_head": width // 32, "n_positions": length + 1}
    theirs = GPT2LMHeadModel(GPT2Config(vocab_size=len(signs), bos_token_id=None, eos_token_id=None, **size)).eval()
    for model in (ours, theirs):
        model.requires_grad_(False)
    start = torch.zeros(texts, 1, dtype=torch.int64)
    options = {"max_new_tokens": length, "do_sample": True, "top_k": 0, "use_cache": True, "pad_token_id": 0}

    def their_work() -> Tensor:
        with torch.no_grad():
            return theirs.generate(start, attention_mask=torch.ones_like(start), **options)

    note = f"{texts} texts of {length} of {len(signs)} tokens; {depth} blocks of {width}"
    return pair(
        f"gpt sampling, {texts}", "transformers", lambda: ours.sample(texts, seed=0), their_work, (ours, theirs), note
    )


def machine(entries: int, batch: int) -> Pair:
    """An epoch of a restricted Boltzmann machine."""
    return next(contest for contest in machines() if contest.name.endswith(f"{entries} entries, batch {batch}"))


PAIRS: dict[str, Callable[[], Pair]] = {
    **{
        f"{kind} {what}": lambda kind=kind, work=work: work(kind)
        for kind in ("maf", "nsf")
        for what, work in {"log_prob": density, "training step": step, "sampling": sampling}.items()
    },
    **{f"gpt sampling, {texts} texts": lambda texts=texts: tokens(texts) for texts in (1, 16)},
    **{
        f"rbm epoch, {entries} entries, batch {batch}": lambda entries=entries, batch=batch: machine(entries, batch)
        for entries, batch in ((64, 10), (64, 64), (784, 64))
    },
}
