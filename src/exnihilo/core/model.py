"""The contract of every model: how it trains (`Trainable`) and what it can do afterwards (`GenerativeModel`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any, NamedTuple, final

import torch
from torch import Tensor, nn

from exnihilo.core.conditions import NOTHING, Conditions, require_taken, resolve_conditions
from exnihilo.core.data import Batch, DataSpec
from exnihilo.core.errors import OptionError, Unsupported, listing, some_models
from exnihilo.core.noise import Noise
from exnihilo.core.optimizers import OptimizerFactory, adam
from exnihilo.core.player import Player, Stage, Terms


class Trainable(nn.Module):
    """What the trainer asks of anything that learns: stages of players, and how they move."""

    optimizer: OptimizerFactory = adam(1e-3)  # of players that bring none
    batch: int = 64
    average: bool = True  # sample from averaged weights
    compilable: bool = True  # False where the loss differentiates a gradient
    progress: float = 0.0  # within the stage, in [0, 1]; set by the trainer; read by losses, schedules, `after` only

    def loss(self, batch: Batch) -> Terms:
        """What a model with one player minimises: named scalars, each a mean over the batch."""
        raise NotImplementedError(f"{type(self).__name__} has neither a loss nor players of its own")

    def players(self) -> Iterable[Player]:
        """Who moves, and to minimise what; by default one player, everything, `self.loss`."""
        return [Player("model", self, self.loss)]

    def stages(self) -> Iterable[Stage]:
        """The order of learning; by default one stage of all players."""
        return [Stage("train", self.players)]

    def validate(self, batch: Batch) -> Terms:
        """The figure by which the best weights are kept, smaller is better; {} where there is none."""
        players = list(self.players())
        if len(players) != 1:
            return {}
        with torch.enable_grad():  # whether a term is minimised or only logged shows by its gradient
            terms = players[0].loss(batch)
        minimised = [term.detach() for term in terms.values() if term.requires_grad or len(terms) == 1]
        return {"loss": torch.stack(minimised).sum()} if minimised else {}


class Prediction(NamedTuple):
    """What a denoiser answers: the expected clean data and the noise that goes with it, both shaped as x.

    fraction: of a model that learns the variance of its steps, where between its bounds their logarithm lies.
    """

    data: Tensor
    noise: Tensor
    fraction: Tensor | None = None


class Findings(NamedTuple):
    """What a look into a trained model shows: columns of equal length, and what is wrong, in plain words."""

    title: str
    columns: dict[str, list[float]]
    messages: list[str]


CAPABILITIES = (
    "sample", "log_prob", "log_prob_bound", "energy", "score", "encode", "decode", "reconstruct", "denoise", "classify",
    "impute",
)  # fmt: skip

#: What follows from what; `sample` is final and follows from `draw`.
DERIVED: Mapping[str, tuple[str, ...]] = {
    "sample": ("draw",),
    "log_prob_bound": ("log_prob",),
    "energy": ("log_prob",),
    "score": ("energy",),
    "reconstruct": ("encode", "decode"),
}


class GenerativeModel(Trainable):
    """A model of data. It has a capability by overriding its method; the base derives what follows from others.

    Densities are in nats per example, summed over its entries, in model space: of the continuous x, or - where
    `mass` is true - of the levels that x stands for. Methods take batches on the model's device; those that need
    chance take `seed`.
    """

    spec: DataSpec  # stamped, with the recipe and its options, by @recipe
    recipe: str = ""
    options: dict[str, Any]
    mass: bool = False  # log_prob is of discrete levels, not a density over continuous x
    labelled: bool = False  # draws and densities take the class; unlabelled samples draw one by the classes' shares
    takes: frozenset[str] = frozenset()  # of attributes, text, given, mask: what `draw` looks at beside the class
    withdrawn: frozenset[str] = frozenset()  # capabilities this instance lacks though its class has them
    chunk: int = 512  # samples drawn at once

    # -- what it can do ------------------------------------------------------------------------------------------

    @classmethod
    def class_capabilities(cls) -> tuple[str, ...]:
        """What models of this class can do, without building one; an instance may withdraw some."""
        return cls._can(cls.withdrawn, cls.mass)

    @classmethod
    def _can(cls, withdrawn: frozenset[str], mass: bool) -> tuple[str, ...]:
        """What the class overrides, less what is withdrawn, and what follows. Levels have no score."""
        withdrawn = withdrawn | {"score"} if mass else withdrawn
        names = {*CAPABILITIES, "draw"} - {"sample"} - withdrawn
        have = {name for name in names if getattr(cls, name) is not getattr(GenerativeModel, name)}
        for name, needs in DERIVED.items():  # in an order in which each is derived after its needs
            if have.issuperset(needs) and name not in withdrawn:
                have.add(name)
        return tuple(name for name in CAPABILITIES if name in have)

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What this model can do; a labelled density classifies."""
        have = set(self._can(self.withdrawn, self.mass))
        if self.labelled and self.spec.classes and "log_prob" in have:
            have.add("classify")
        return tuple(name for name in CAPABILITIES if name in have)

    def _lacks(self, capability: str) -> Unsupported:
        from exnihilo.core.registry import list_models  # there, models are known

        family = next((entry.family for entry in list_models() if entry.name == self.recipe), "")
        fitting = [entry for entry in list_models() if capability in entry.capabilities]
        others = [entry.name for entry in sorted(fitting, key=lambda entry: entry.family != family)]  # relatives first
        have = f" It can: {listing(self.capabilities)}." if self.capabilities else ""
        if capability == "sample" and {"encode", "decode"} <= set(self.capabilities):
            have += (
                " It codes and decodes, but does not say which codes occur; a density fitted to its codes does:"
                " `exnihilo sample RUN --density`, in Python exnihilo.explore.with_density."
            )
        return Unsupported(
            f"{self.recipe or type(self).__name__} cannot {capability}.{have} Models that can: {some_models(others)}."
        )

    def require(self, *capabilities: str) -> None:
        """Unsupported for the first of the capabilities that this model lacks."""
        for capability in capabilities:
            if capability not in self.capabilities:
                raise self._lacks(capability)

    # -- drawing -------------------------------------------------------------------------------------------------

    def draw(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """[len(noise), *shape] samples of what is asked. A model writes this; its keywords are its sampling options."""
        raise self._lacks("sample")

    @final
    @torch.no_grad()
    def sample(
        self,
        n: int,
        *,
        seed: int | Noise | None = None,
        label: Any = None,
        attributes: Any = None,
        text: Tensor | None = None,
        given: Tensor | None = None,
        mask: Tensor | None = None,
        **sampling: Any,
    ) -> Tensor:
        """n samples in model space, [n, *shape]; `spec.decode` makes pictures, rows or strings of them.

        label: a class by name or number, or n of them. attributes: {name: value}, or a tensor [n, A]. Sampling options
        are those of the model (`exnihilo show NAME`). The noise of sample i depends on (seed, i) alone, whatever n,
        chunk or process; without a seed one is drawn. Raises Unsupported, OptionError or DataError.
        """
        from exnihilo.core.registry import check_options, signature_options

        if "sample" not in self.capabilities:
            raise self._lacks("sample")
        if n < 1:
            raise OptionError(f"n={n} is not allowed. At least one sample must be asked for.")
        options = signature_options(type(self).draw)
        sampling = check_options(options, sampling, self.recipe)
        tensors = chain(self.parameters(), self.buffers())
        device = next((tensor.device for tensor in tensors), torch.device("cpu"))
        noise = seed if isinstance(seed, Noise) else Noise(seed, n)
        noise.keys = noise.keys.to(device)
        asked = Conditions(label, attributes, text, given, mask)
        require_taken(asked, self.takes, self.recipe or type(self).__name__)
        asked = resolve_conditions(asked, n, self.spec, self.labelled, noise)
        awake = [part for part in self.modules() if part.training]  # in training, players are while others are not
        for part in awake:
            part.training = False
        try:
            parts = [
                self.draw(noise[start : start + self.chunk], asked.part(start, start + self.chunk, device), **sampling)
                for start in range(0, n, self.chunk)
            ]
        finally:
            for part in awake:
                part.training = True
        return torch.cat(parts)

    # -- capabilities --------------------------------------------------------------------------------------------

    def log_prob(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        """[B] exact log-density (or mass, see `mass`) in nats."""
        raise self._lacks("log_prob")

    def log_prob_bound(self, x: Tensor, *, k: int = 1, label: Tensor | None = None, seed: int = 0) -> Tensor:
        """[B] a lower bound on the log-density in nats; tighter on average with more importance samples k."""
        if self._derives("log_prob_bound"):
            return self.log_prob(x) if label is None else self.log_prob(x, label=label)
        raise self._lacks("log_prob_bound")

    def bound_terms(self, x: Tensor, *, label: Tensor | None = None, seed: int = 0) -> Terms:
        """What minus the bound with k = 1 is the sum of, each [B] in nats: `reconstruction` and `divergence`.

        Beside the capabilities: {} where the bound has no such parts.
        """
        return {}

    def findings(self, batch: Batch, *, seed: int = 0) -> Findings | None:
        """What examples show of how well the model has learnt what it rests on; None where nothing is looked at.

        Beside the capabilities: of denoisers the predicted noise at several times.
        """
        return None

    def estimated_log_partition(self, *, seed: int = 0) -> tuple[float, float, float] | None:
        """An estimate of log Z in nats and its interval, where log p(x) = -energy(x) - log Z is known no other way.

        Beside the capabilities: None where nothing is to be estimated, or only at great cost.
        """
        return None

    def energy(self, x: Tensor) -> Tensor:
        """[B] the negative log-density up to a constant, in nats."""
        if self._derives("energy"):
            return -self.log_prob(x)
        raise self._lacks("energy")

    def score(self, x: Tensor) -> Tensor:
        """The gradient of the log-density at x, shaped as x."""
        if self._derives("score"):
            with torch.enable_grad():
                point = x.detach().requires_grad_()
                return -torch.autograd.grad(self.energy(point).sum(), point)[0]
        raise self._lacks("score")

    def encode(self, x: Tensor) -> Tensor:
        """[B, ...] the code of each example (of a distribution over codes, its mean)."""
        raise self._lacks("encode")

    def decode(self, z: Tensor) -> Tensor:
        """[B, *shape] the example (the mean, where there is a distribution) of each code."""
        raise self._lacks("decode")

    def draw_code(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """[len(noise), ...] codes as samples begin with them: `decode` makes typical examples of them.

        Beside the capabilities: written by models that draw by decoding, where `draws_codes` is true. It is what
        `draw` takes from the noise first, so code i of a seed belongs to sample i.
        """
        from exnihilo.core.registry import list_models

        others = [entry.name for entry in list_models() if entry.model.draw_code is not GenerativeModel.draw_code]
        raise Unsupported(
            f"{self.recipe or type(self).__name__} draws no codes; start from those of examples, if it encodes."
            f" Models that draw codes: {some_models(others)}."
        )

    @property
    def draws_codes(self) -> bool:
        """Whether there is a distribution over codes to draw from."""
        written = type(self).draw_code is not GenerativeModel.draw_code
        return written and {"sample", "decode"} <= set(self.capabilities)

    @property
    def code_names(self) -> tuple[str, ...]:
        """What each number of a flat code stands for; () where they have no names of their own."""
        return ()

    def reconstruct(self, x: Tensor) -> Tensor:
        """What remains of x after coding and decoding it."""
        if self._derives("reconstruct"):
            return self.decode(self.encode(x))
        raise self._lacks("reconstruct")

    def residual(self, x: Tensor, rebuilt: Tensor) -> Tensor:
        """[B] how far each x is from what the model makes of it: the mean absolute difference of their entries.

        Beside the capabilities. A model that sees better than entry by entry (features of a critic) writes its own;
        a gradient passes to `rebuilt`.
        """
        return (x - rebuilt).abs().flatten(1).mean(dim=1)

    def denoise(
        self, x: Tensor, t: Tensor, *, label: Tensor | None = None, attributes: Tensor | None = None
    ) -> Prediction:
        """The expected clean data given x at times t [B], 0 = data, 1 = noise."""
        raise self._lacks("denoise")

    def classify(self, x: Tensor) -> Tensor:
        """[B, classes] log p(class | x); of a labelled density by Bayes' rule with the classes' shares."""
        if "classify" not in self.capabilities:
            raise self._lacks("classify")
        return self.joint(x).log_softmax(dim=1)

    def class_log_shares(self, like: Tensor) -> Tensor:
        """[classes] log p(class), by the shares in the training data; the same for all where these are not known."""
        shares = self.spec.class_shares or (1 / self.spec.classes,) * self.spec.classes
        return torch.tensor(shares).log().to(like if like.is_floating_point() else like.device)  # text is whole numbers

    def joint(self, x: Tensor) -> Tensor:
        """[B, classes] log p(x, class) of a labelled density: what p(x) sums, and `classify` compares."""
        each = [self.log_prob(x, label=torch.full((len(x),), c, device=x.device)) for c in range(self.spec.classes)]
        return torch.stack(each, dim=1) + self.class_log_shares(x)

    def impute(self, x: Tensor, mask: Tensor, *, seed: int = 0) -> Tensor:
        """x with the entries where mask is False drawn anew given the others."""
        raise self._lacks("impute")

    def redraw(
        self,
        x: Tensor,
        noise: Noise,
        asked: Conditions = NOTHING,
        *,
        agree: Callable[[Tensor, Tensor], Tensor] | None = None,
        strength: float = 1.0,
        repeats: int = 1,
        **sampling: Any,
    ) -> Tensor:
        """[B, *shape] examples x drawn anew, as far as `strength` says (1: nothing is left of x but what is known).

        Beside the capabilities: written by models that draw by taking noise away step by step, where `redraws` is
        true. agree: (state, x with the state's noise) -> the state with what is known of x put in, an
        `exnihilo.probability.projections.Agreement`; it holds of the result exactly. repeats: how often steps are done
        in all, so that what is known and what is drawn fit. sampling: options of `sample`.
        """
        from exnihilo.core.registry import list_models

        others = [entry.name for entry in list_models() if entry.model.redraw is not GenerativeModel.redraw]
        raise Unsupported(
            f"{self.recipe or type(self).__name__} does not draw by taking noise away, so it can neither begin with an"
            f" example nor be held to a part of one. Models that can: {some_models(others)}."
        )

    @property
    def redraws(self) -> bool:
        """Whether `redraw` is written, and answers with examples from the law that was learnt."""
        return type(self).redraw is not GenerativeModel.redraw and "impute" in self.capabilities

    def _derives(self, capability: str) -> bool:
        return capability in self.capabilities

    # -- training ------------------------------------------------------------------------------------------------

    def validate(self, batch: Batch) -> Terms:
        """Minus the log-density (or its bound) in nats where there is one, else the sole player's loss, else {}."""
        if "log_prob_bound" not in self.capabilities:
            return super().validate(batch)
        x = batch.x if self.mass else self.spec.dequantise(batch.x)[0]
        label = batch.label if self.labelled else None
        return {"nats": -self.log_prob_bound(x, label=label).mean()}
