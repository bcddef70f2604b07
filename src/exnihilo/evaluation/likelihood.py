"""How probable a model finds the test examples, in units that say what they mean."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from exnihilo.core import Batch, DataSpec, GenerativeModel, seeded
from exnihilo.evaluation.value import Value

DRAWS = 4  # dequantisations that are averaged
IMPORTANCE = 16  # samples behind a bound
EXAMPLES = 1000  # test examples at most
GAP_IMPORTANCE, GAP_EXAMPLES = 50, 256  # samples and examples behind the gap of a bound


@dataclass(frozen=True)
class Unit:
    """What a negative log-probability in nats is divided by, and how the result is called."""

    name: str
    key: str
    divisor: float

    @classmethod
    def of(cls, spec: DataSpec, x: Tensor) -> Unit:
        """Bits per character of texts x, bits per dimension of other levels, else nats per row or standardised vector.

        The name holds all that has to be equal for two figures to be comparable: also the tokens and the window, at
        whose beginning nothing is known of what came before, and the rate of sound.
        """
        if spec.kind == "text":
            what = "byte" if spec.tokens == "bytes" else "character"
            windows = f"windows of {spec.size} {'byte pairs' if spec.tokens == 'bpe' else spec.tokens}"
            name = f"bits per {what}, {windows} out of {spec.levels:,}, each from its beginning"
            letters = sum(map(len, spec.decode(x))) / len(x) if spec.tokens == "bpe" else spec.size
            return cls(name, f"bits_per_{what}", letters * math.log(2))
        rate = f" at {spec.rate:,.0f} samples a second" if spec.rate else ""
        if spec.discrete:
            name = f"bits per dimension of the raw levels{rate and f', {spec.levels} by the mu-law{rate}'}"
            return cls(name, "bits_per_dim", spec.size * math.log(2))
        if spec.kind == "table":
            return cls("nats per row, whole numbers and categories counted as probabilities", "nats", 1.0)
        return cls(f"nats per example, {'waveforms' + rate if rate else 'in standardised units'}", "nats", 1.0)


@torch.no_grad()
def log_likelihood(model: GenerativeModel, batch: Batch, *, seed: int = 0) -> tuple[Tensor, str]:
    """[B] log-probability of every example in nats (float64), and how it was had: exact, or which bound.

    A density over continuous x is averaged over `DRAWS` dequantisations and the dequantisation's own density is taken
    off: E[log p(x + u)] - log q(u | x) <= log P(x) (Theis et al., 2016, arXiv:1511.01844, Eq. 3). A model of labelled
    data counts every class by its share.
    """
    exact = "log_prob" in model.capabilities
    quality = "exact" if exact else f"bound with k={IMPORTANCE}"
    if model.mass:
        with seeded("likelihood", seed):
            return _log_prob(model, batch.x, batch.label, exact, seed), quality
    if not bool((model.spec.steps() > 0).any()):
        with seeded("likelihood", seed):
            return _log_prob(model, batch.x, batch.label, exact, seed), quality
    total = torch.zeros(len(batch), dtype=torch.float64)
    for draw in range(DRAWS):
        with seeded("likelihood", seed, draw):
            x, log_q = model.spec.dequantise(batch.x)
            total += _log_prob(model, x, batch.label, exact, seed + draw) - log_q.double().cpu()
    return total / DRAWS, f"{quality}, bound by uniform dequantisation"


def _log_prob(model: GenerativeModel, x: Tensor, label: Tensor | None, exact: bool, seed: int) -> Tensor:
    parts = []
    for start in range(0, len(x), 256):
        part = x[start : start + 256]
        known = None if label is None or not model.labelled else label[start : start + 256]
        parts.append(_part(model, part, known, exact, seed).double().cpu())
    return torch.cat(parts)


def _part(model: GenerativeModel, x: Tensor, label: Tensor | None, exact: bool, seed: int) -> Tensor:
    if not (model.labelled and model.spec.classes) or label is None:
        return model.log_prob(x) if exact else _bound(model, x, None, seed)
    shares = torch.tensor(model.spec.class_shares or [1 / model.spec.classes] * model.spec.classes, device=x.device)
    shares = shares.log()
    if exact:  # log p(x) = log sum_c share_c p(x | c)
        each = [
            model.log_prob(x, label=torch.full((len(x),), c, device=x.device)).double() + shares[c]
            for c in range(len(shares))
        ]
        return torch.stack(each).logsumexp(dim=0)
    share = torch.where(label >= 0, shares[label.clamp_min(0)], 0.0)  # log p(x) >= log share_c + log p(x | c)
    return _bound(model, x, label, seed) + share


def _bound(model: GenerativeModel, x: Tensor, label: Tensor | None, seed: int) -> Tensor:
    if label is None:
        return model.log_prob_bound(x, k=IMPORTANCE, seed=seed)
    return model.log_prob_bound(x, k=IMPORTANCE, seed=seed, label=label)


def likelihood(model: GenerativeModel, batch: Batch, protocol: str, *, seed: int = 0) -> tuple[str, Value]:
    """The mean negative log-likelihood with its 95 % interval over the test examples, under its unit's key.

    Comparable between exact masses, bounds and dequantised densities in one direction only: a bound may be worse than
    the truth, never better. Densities of data with few levels lose to models of the levels by construction.
    """
    unit = Unit.of(model.spec, batch.x.cpu())
    nats, quality = log_likelihood(model, batch, seed=seed)
    figures = -nats / unit.divisor
    lost = int((~figures.isfinite()).sum())
    mean = figures.mean().item()
    half = 1.96 * figures.std().item() / math.sqrt(len(figures)) if len(figures) > 1 and not lost else math.inf
    notes = [quality] + ([f"{lost} test examples have probability zero or no finite density"] if lost else [])
    if lost:
        mean, low = math.inf, figures[figures.isfinite()].mean().item() if lost < len(figures) else math.inf
        return unit.key, Value(mean, low, math.inf, len(figures), f"{unit.name} | {protocol}", tuple(notes))
    return unit.key, Value(mean, mean - half, mean + half, len(figures), f"{unit.name} | {protocol}", tuple(notes))


@torch.no_grad()
def bound_parts(model: GenerativeModel, batch: Batch, protocol: str, *, seed: int = 0) -> dict[str, Value]:
    """Where the bound of a latent-variable model goes, in nats per example with 95 % intervals; {} for other models.

    reconstruction_nats + divergence_nats are minus the bound with one sample, of the raw values. gap_nats is how much
    higher the bound with 50 importance-weighted samples lies (Burda et al., 2016, arXiv:1509.00519, Theorem 1), paired
    by example: an estimate from below of KL(q(z | x) || p(z | x)), what the encoder costs.
    """
    batch = batch[:GAP_EXAMPLES]
    if model.labelled and batch.label is not None:
        batch = batch[batch.label >= 0]
    label = batch.label if model.labelled else None
    with seeded("bound_parts", seed):
        x, log_q = (batch.x, torch.zeros(len(batch))) if model.mass else model.spec.dequantise(batch.x)
        terms = {name: term.double().cpu() for name, term in model.bound_terms(x, label=label, seed=seed).items()}
        if not terms:
            return {}
        tighter = model.log_prob_bound(x, k=GAP_IMPORTANCE, label=label, seed=seed + 1).double().cpu()
    gap = tighter + torch.stack(list(terms.values())).sum(dim=0)
    terms["reconstruction"] = terms["reconstruction"] + log_q.double().cpu()
    given = ", given the class" if label is not None else ""
    about = {
        "reconstruction": "-E log p(x given z), z ~ q(z given x)",
        "divergence": "KL from q(z given x) to p(z)",
        "gap": f"bound with k={GAP_IMPORTANCE} less bound with k=1",
    }
    values = {}
    for name, figures in {**terms, "gap": gap}.items():
        mean = figures.mean().item()
        half = 1.96 * figures.std().item() / math.sqrt(len(figures)) if len(figures) > 1 else math.inf
        what = f"nats per example: {about.get(name, name)}{given} | {protocol}"
        values[f"{name}_nats"] = Value(mean, mean - half, mean + half, len(figures), what)
    return values
