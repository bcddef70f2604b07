"""The one loop that trains every family: stages of rounds of players. It knows no family.

A round is a turn of all players; it fits on one screen (`Trainer.play_round`). Whatever the loop changes is in
`State`, so a run that is stopped at any round goes on as if nothing had happened, bit for bit on the processor.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from exnihilo.core import Data, Player, PowerAverage, Stage, Terms, Trainable, TrainingError, seeded
from exnihilo.training.budget import Budget, is_mark
from exnihilo.training.hardware import Hardware
from exnihilo.training.hooks import Hook
from exnihilo.training.state import (
    Place,
    State,
    all_tensors,
    load_optimizer,
    load_tensors,
    optimizer_tensors,
    shared_tensors,
)

VALIDATED = 512  # examples in the validation figure


class Trainer:
    """Alternates over players, stage by stage.

    A *mark* is a round (see `is_mark`) at which the accumulated terms are read, the model is validated and
    the hooks are told; between marks the host never waits for the device.
    """

    def __init__(
        self,
        model: Trainable,
        data: Data,
        budget: Budget,
        *,
        seed: int = 0,
        hardware: Hardware | None = None,
        accumulate: int = 1,
        hooks: Sequence[Hook] = (),
    ):
        self.hardware = hardware or Hardware("cpu")
        self.model = model.to(self.hardware.device)
        self.data, self.budget, self.seed, self.accumulate, self.hooks = data, budget, seed, accumulate, hooks
        self.stages = list(model.stages())
        self.place = Place(rounds=budget.allot(self.stages))
        self.average = PowerAverage(model)
        self.best: dict[str, Tensor] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}
        self.sums: dict[str, tuple[Tensor, int]] = {}
        self.good: State | None = None  # the last mark at which everything was finite
        self.stop_requested = False

    # -- the loop ------------------------------------------------------------------------------------------------

    def run(self) -> bool:
        """Train to the end of the budget; False if it was stopped before (Ctrl-C, SIGTERM)."""
        with self._stop_on_signal():
            while self.place.stage < len(self.stages):
                stage = self.stages[self.place.stage]
                self.enter(stage)
                while self.players and not self.stage_is_over():
                    self.play_round(stage)
                    if self.at_mark():
                        self.mark()
                    for hook in self.hooks:
                        hook.round(self)
                    if self.stop_requested:
                        return False
                self.leave()
        return True

    def play_round(self, stage: Stage) -> None:
        """A turn of every player, and one more round in the average."""
        start = time.perf_counter()
        self.model.progress = self.budget.progress(self.place)
        for player in self.players:
            if self.place.round % player.every == 0 and (player.when is None or player.when()):
                for step in range(player.steps):
                    with self.only(player), seeded(self.seed, stage.name, self.place.round, player.name, step):
                        self.update(player)
        if self.model.average:
            self.average.update()
        self.place.round += 1
        elapsed = time.perf_counter() - start
        self.place.seconds += elapsed
        self.place.stage_seconds += elapsed
        self.budget.measure(self.place)

    def update(self, player: Player) -> None:
        """One step of one player on a fresh batch: the terms that carry a gradient are summed and minimised."""
        batch = self.view.batch(self.place.position, self.model.batch, self.seed).to(self.hardware.device)
        self.place.position += 1
        optimizer = self.optimizers[player.name]
        optimizer.zero_grad(set_to_none=True)
        share = -(-len(batch) // self.accumulate)  # rounded up
        parts = [batch[at : at + share] for at in range(0, len(batch), share)] if self.accumulate > 1 else [batch]
        terms: Terms = {}  # of the whole batch, detached
        for part in parts:
            weight = len(part) / len(batch)  # the last part may be smaller
            with self.hardware.autocast():
                found = self.losses[id(player)](part)
            moved = [term for term in found.values() if term.requires_grad]
            if not moved:
                raise TrainingError(f"No term of {player.name} depends on its parameters: {', '.join(found)}.")
            loss = torch.stack([term.float() for term in moved]).sum() if len(moved) > 1 else moved[0].float()
            factor = player.every * weight
            self.hardware.backward(loss if factor == 1 else loss * factor)
            for name, term in found.items():
                terms[name] = term.detach() if part is batch else terms.get(name, 0.0) + weight * term.detach()
        self.note(player, terms)
        chosen = player.optimizer or self.model.optimizer
        for group in optimizer.param_groups:
            group["lr"] = chosen.rate * chosen.schedule(self.model.progress) * self.place.rate
        norm = self.hardware.step(optimizer, chosen.clip)
        self.note(player, {"gradient": norm})
        if player.after is not None:
            with torch.no_grad():
                player.after(terms)

    @contextmanager
    def only(self, player: Player) -> Iterator[None]:
        """Inside, the player's parameters alone require gradients; afterwards every flag is as before."""
        others = self.others[id(player)]
        flags = [weight.requires_grad for weight in others]
        for weight in others:
            weight.requires_grad_(False)
        try:
            yield
        finally:
            for weight, flag in zip(others, flags, strict=True):
                weight.requires_grad_(flag)

    # -- stages --------------------------------------------------------------------------------------------------

    def enter(self, stage: Stage) -> None:
        """Prepare a stage; its `enter` runs once, also over a resume."""
        if not self.place.entered:
            with seeded(self.seed, "enter", stage.name):
                if stage.enter is not None:
                    self.model.eval()
                    stage.enter(self.data.split("train"))
            self.average.restart(self.model)
            self.best = {}
            self.place.best, self.place.best_round, self.place.stage_seconds = None, 0, 0.0
            self.place.entered = True
            self.optimizers = {}
        train = self.data.split("train")
        self.view = stage.view(train) if stage.view is not None else train
        self.validation = self.data.split("validation").spread(VALIDATED).to(self.hardware.device)
        self._seat(list(stage.players()))
        if self.good is None or self.good.place.stage != self.place.stage:
            self.good = self.capture()

    def _seat(self, players: list[Player]) -> None:
        """Modes, optimisers and frozen sets for the players of a stage."""
        own = set(self.model.parameters())
        moved: dict[str, set[nn.Parameter]] = {}  # by players of one name, who share an optimiser
        for player in players:
            mine = set(player.module.parameters())
            if not mine <= own:
                raise TrainingError(f"{player.name} moves parameters that are not the model's own.")
            if mine != moved.setdefault(player.name, mine):
                raise TrainingError(
                    f"Two players named {player.name} move different parameters, but share one optimiser."
                    " Give them one module, or names of their own."
                )
            if player.coupled and self.accumulate > 1:
                raise TrainingError(
                    f"{player.name} compares the examples of a batch with each other, so its gradient cannot be"
                    " accumulated over parts of it. Use accumulate=1."
                )
        self.players = players
        self.losses = {id(player): self.hardware.compiled(player.loss) for player in players}
        self.others = {
            id(player): [w for w in self.model.parameters() if w not in set(player.module.parameters())]
            for player in players
        }
        self.model.eval()  # what does not play keeps still
        for player in players:
            player.module.train()
            if player.name not in self.optimizers:
                factory = player.optimizer or self.model.optimizer
                self.optimizers[player.name] = factory(player.module.parameters())

    def stage_is_over(self) -> bool:
        """Whether the stage's rounds are played; a budget of seconds ends hard at 1.25 times its share."""
        if self.budget.exceeded(self.place):
            self.place.rounds[self.place.stage] = self.place.round
        rounds = self.place.rounds[self.place.stage]
        return rounds is not None and self.place.round >= rounds

    def leave(self) -> None:
        """The model takes the weights that the stage is kept by, and the next stage begins."""
        if self.players:
            with torch.no_grad():
                load_tensors(self.model, self.kept(), shared_tensors(self.model), "the stage")
        self.place.rounds[self.place.stage] = self.place.round
        self.place.stage += 1
        self.place.round, self.place.entered = 0, False
        self.model.eval()
        for hook in self.hooks:
            hook.stage(self)

    def kept(self) -> dict[str, Tensor]:
        """The shared tensors to keep: the best validated, else the average, else the weights as they are."""
        if self.best:
            return self.best
        shared = shared_tensors(self.model)
        return shared | (self.average.weights if self.model.average else {})

    # -- marks ---------------------------------------------------------------------------------------------------

    def at_mark(self) -> bool:
        """Whether the round just played is a mark."""
        return is_mark(self.place.round, self.place.rounds[self.place.stage])

    def mark(self) -> None:
        """Read the terms, validate, keep the best, tell the hooks; roll back if anything is not finite."""
        line = {name: float(total) / count for name, (total, count) in self.sums.items()}
        self.sums = {}
        start = time.perf_counter()
        figures = self.validate() if all(map(math.isfinite, line.values())) else {}
        line |= {f"validation/{name}": value for name, value in figures.items()}
        if not all(map(math.isfinite, line.values())):
            return self.roll_back(line)
        if figures and (self.place.best is None or sum(figures.values()) < self.place.best):
            self.place.best, self.place.best_round = sum(figures.values()), self.place.round
            with self.averaged():
                self.best = {name: tensor.detach().clone() for name, tensor in shared_tensors(self.model).items()}
        elapsed = time.perf_counter() - start
        self.place.seconds += elapsed
        self.place.stage_seconds += elapsed
        if self.place.rounds[self.place.stage] is None:
            self.place.warm_up += elapsed  # no part of what a round is measured to take
            self.place.look = elapsed
        for hook in self.hooks:
            line |= hook.terms(self)
        for hook in self.hooks:
            hook.mark(self, line)
        self.good = self.capture()
        return None

    def validate(self) -> dict[str, float]:
        """The model's validation figures with the averaged weights, on fixed examples and fixed noise."""
        modes = {part: part.training for part in self.model.modules()}
        self.model.eval()
        with self.averaged(), torch.no_grad(), seeded(self.seed, "validate"), self.hardware.autocast():
            terms = self.model.validate(self.validation)
        for part, mode in modes.items():
            part.training = mode
        return {name: float(term) for name, term in terms.items()}

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Inside, the model holds its averaged weights."""
        if not self.model.average or not self.average.rounds:
            yield
            return
        self.average.swap()
        try:
            yield
        finally:
            self.average.swap()

    def roll_back(self, line: dict[str, float]) -> None:
        """Back to the last good mark with a tenth of the rate, once; a second time is the end."""
        bad = ", ".join(name for name, value in line.items() if not math.isfinite(value))
        lowered = self.place.rate < 1
        where = f"round {self.place.round}"
        assert self.good is not None
        self.restore(self.good.clone())
        if lowered:
            raise TrainingError(
                f"{bad} was no longer finite at {where}, again after the rate was lowered to a tenth. The weights"
                f" of round {self.place.round} are kept. Try a smaller rate, a smaller width, or look for outliers in"
                " the data."
            )
        self.place.rate = 0.1
        self.good.place.rate = 0.1
        for hook in self.hooks:
            hook.say(
                f"{bad} was not finite at {where}: back to round {self.place.round}, the learning rate is now a tenth."
            )

    def note(self, player: Player, terms: Terms) -> None:
        """Add terms to what the next mark reports, without waiting for their values."""
        for name, term in terms.items():
            key = f"{player.name}/{name}"
            total, count = self.sums.get(key, (0.0, 0))
            self.sums[key] = (total + term.double(), count + 1)

    # -- state ---------------------------------------------------------------------------------------------------

    def capture(self) -> State:
        """The present moment, copied."""
        self.place.averaged = self.average.rounds
        groups: dict[str, dict[str, Tensor]] = {
            "model": all_tensors(self.model),
            "average": self.average.weights,
            "best": self.best,
            "scaling": self.hardware.scaling(),
            "sums": {
                name: torch.stack([total.double(), total.new_tensor(count).double()])
                for name, (total, count) in self.sums.items()
            },
        }
        groups |= {f"optimizer:{name}": optimizer_tensors(opt) for name, opt in self.optimizers.items()}
        flat = {f"{group}|{name}": tensor for group, tensors in groups.items() for name, tensor in tensors.items()}
        return State(self.place, {name: tensor.detach().cpu() for name, tensor in flat.items()}).clone()

    def restore(self, state: State) -> None:
        """Go on from a captured moment."""
        groups: dict[str, dict[str, Tensor]] = {}
        for key, tensor in state.tensors.items():
            group, _, name = key.partition("|")
            groups.setdefault(group, {})[name] = tensor.to(self.hardware.device)
        self.place = state.place
        load_tensors(self.model, groups.get("model", {}), all_tensors(self.model), "the saved state")
        self.average.weights, self.average.rounds = groups.get("average", {}), self.place.averaged
        self.best = groups.get("best", {})
        self.hardware.restore_scaling(groups.get("scaling", {}))
        self.sums = {name: (pair[0], int(pair[1])) for name, pair in groups.get("sums", {}).items()}
        if self.place.entered:
            self._seat(list(self.stages[self.place.stage].players()))
            for name, optimizer in self.optimizers.items():
                tensors = {
                    key: value.cpu() if key.endswith("/step") else value
                    for key, value in groups.get(f"optimizer:{name}", {}).items()
                }
                load_optimizer(optimizer, tensors)

    @contextmanager
    def _stop_on_signal(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM end the run after the present round; a second Ctrl-C at once."""

        def request(number: int, frame: Any) -> None:
            if self.stop_requested:
                raise KeyboardInterrupt
            self.stop_requested = True

        try:
            before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread: whoever owns it decides
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
