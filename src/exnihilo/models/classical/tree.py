"""The best tree of discrete variables."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from exnihilo.core import NOTHING, Conditions, DataSpec, ModelError, Noise, check_mask, listing
from exnihilo.models.classical.family import Classical
from exnihilo.probability.markov import pick

MOST = 2000  # variables: all pairs of more would take minutes to count


class ChowLiu(Classical):
    """p(x) = prod_d p(x_d | x_parent(d)) along the tree of the largest total mutual information.

    Chow & Liu, 1968, IEEE Trans. Information Theory 14, Eq. 9-10: of all trees the one of greatest likelihood. The
    variables are the entries of x, of a table its columns. Many levels are grouped into at most `bins` states; a level
    within its state follows the entry's own histogram, so the mass is still of levels. Masses, samples and conditionals
    are exact.
    """

    mass = True
    order: Tensor
    parent: Tensor
    table: Tensor
    within: Tensor

    def __init__(self, data: DataSpec, bins: int, smoothing: float):
        super().__init__()
        self.smoothing = smoothing
        self.sizes = _levels(data)
        count, levels = len(self.sizes), max(self.sizes)
        self.group = -(-levels // bins) if data.levels else 1  # levels in a state; categories stay apart
        states = -(-levels // self.group)
        if count > MOST:
            raise ModelError(
                f"chow_liu compares all pairs of entries, and {count} are too many: at most {MOST}. Use a smaller size"
                " (-d size=32) or another model, such as pixelcnn."
            )
        even, alike = torch.full((count, states, states), 1 / states), torch.full((count, levels), 1 / self.group)
        self.register_buffer("order", torch.arange(count))  # parents before children
        self.register_buffer("parent", torch.zeros(count, dtype=torch.int64))  # the root is its own
        self.register_buffer("table", even.double())  # [D, S, S] p(state | parent's state), of the root its marginal
        self.register_buffer("within", alike.double())  # [D, levels] p(level | its state)
        self._possible = torch.tensor(self.sizes)[:, None] > self.group * torch.arange(states)  # [D, states]

    # -- fitting -------------------------------------------------------------------------------------------------

    def solve(self, x: Tensor) -> None:
        """Count, find the tree (scipy's minimum spanning tree), and fill its tables with smoothed frequencies."""
        levels = self.levels(x.cpu())  # [N, D]
        state = levels // self.group
        information = self._information(state)
        self.order, self.parent = (part.to(self.order.device) for part in spanning_tree(information))
        for d, parent in enumerate(self.parent.tolist()):
            counts = self._pairs(state, d, parent) if d != parent else self._alone(state, d)
            possible = self._possible[d]
            smoothed = torch.where(possible, counts + self.smoothing, 0.0)
            self.table[d] = (smoothed / smoothed.sum(dim=1, keepdim=True)).to(self.table)
        self.within.copy_(self._within(levels))

    def _information(self, state: Tensor) -> Tensor:
        """[D, D] mutual information of every two variables in nats, from smoothed joint frequencies."""
        count, states = self.table.shape[:2]
        possible = self._possible.double()
        information = torch.zeros(count, count, dtype=torch.float64)
        for d in range(count - 1):
            pair = state[:, d, None] * states + state[:, d + 1 :]  # [N, those after d]
            place = torch.arange(pair.shape[1]) * states**2
            joint = (pair + place).flatten().bincount(minlength=len(place) * states**2).double()
            joint = joint.view(-1, states, states) + self.smoothing
            joint = joint * possible[d][:, None] * possible[d + 1 :, None]
            joint = joint / joint.sum(dim=(1, 2), keepdim=True)
            apart = joint.sum(dim=2, keepdim=True) * joint.sum(dim=1, keepdim=True)
            information[d, d + 1 :] = (torch.xlogy(joint, joint) - torch.xlogy(joint, apart)).sum(dim=(1, 2))
        return information + information.T

    def _pairs(self, state: Tensor, d: int, parent: int) -> Tensor:
        """[states of the parent, states of d] how often they occur together."""
        states = self.table.shape[1]
        return (state[:, parent] * states + state[:, d]).bincount(minlength=states**2).view(states, states).double()

    def _alone(self, state: Tensor, d: int) -> Tensor:
        """The counts of the root in every row: it depends on nobody."""
        states = self.table.shape[1]
        return state[:, d].bincount(minlength=states).double().expand(states, -1)

    def _within(self, levels: Tensor) -> Tensor:
        """[D, levels] p(level | its state), smoothed."""
        most = self.within.shape[1]
        counts = torch.stack([column.bincount(minlength=most) for column in levels.T]).double() + self.smoothing
        counts = torch.where(torch.arange(most) < torch.tensor(self.sizes)[:, None], counts, 0.0)
        total = torch.zeros(self.table.shape[:2], dtype=torch.float64)
        total = total.index_add(1, torch.arange(most) // self.group, counts)
        return (counts / total.repeat_interleave(self.group, dim=1)[:, :most]).nan_to_num(nan=0.0)

    # -- between x and the levels of the variables ---------------------------------------------------------------

    def levels(self, x: Tensor) -> Tensor:
        """[B, *shape] -> [B, D] whole numbers; of a table the numbers of the categories."""
        if self.spec.kind != "table":
            return self.spec.to_levels(x).flatten(1)
        return torch.stack([x[:, column.slice].argmax(dim=1) for column in self.spec.columns], dim=1)

    def place(self, levels: Tensor) -> Tensor:
        """The inverse of `levels`."""
        if self.spec.kind != "table":
            return self.spec.from_levels(levels).view(len(levels), *self.spec.shape)
        parts = [one_hot(levels[:, d], size) for d, size in enumerate(self.sizes)]
        return torch.cat(parts, dim=1).to(torch.get_default_dtype())

    # -- capabilities --------------------------------------------------------------------------------------------

    def log_prob(self, x: Tensor, *, label: Tensor | None = None) -> Tensor:
        """[B] the exact log-probability of the levels, in nats."""
        levels = self.levels(x)
        state = levels // self.group
        each = torch.arange(len(self.sizes), device=x.device)
        entries = self.table[each, state[:, self.parent], state] * self.within[each, levels]
        return entries.log().sum(dim=1).to(x.dtype)

    def draw(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """[len(noise), *shape]: from the root to the leaves, each variable given its parent."""
        nothing = self.table.new_zeros(len(noise), *self.table.shape[:2])
        return self.place(self._down(nothing, noise))

    @torch.no_grad()
    def impute(self, x: Tensor, mask: Tensor, *, seed: int = 0) -> Tensor:
        """x with the entries where mask is False drawn together from their exact distribution given the others.

        Belief propagation (Pearl, 1988) from the leaves to the root, then a draw from the root to the leaves. A
        table's column counts as observed where all of its entries are.
        """
        check_mask(x, mask)
        flat = mask.flatten(1)
        if self.spec.kind == "table":
            flat = torch.stack([mask[:, column.slice].all(dim=1) for column in self.spec.columns], dim=1)
        parts = []
        noise = Noise(seed, len(x), device=x.device)
        for start in range(0, len(x), self.chunk):
            rows = slice(start, start + self.chunk)
            levels = self.levels(x[rows])
            drawn = self._down(self._evidence(levels // self.group, flat[rows]), noise[rows])
            parts.append(self.place(torch.where(flat[rows], levels, drawn)))
        return torch.where(mask, x, torch.cat(parts).to(x.dtype))

    def _evidence(self, state: Tensor, known: Tensor) -> Tensor:
        """[B, D, states] log p(what is observed at and below a variable | its state)."""
        seen = one_hot(state, self.table.shape[1]) > 0
        belief = torch.where(known[:, :, None] & ~seen, -torch.inf, 0.0).to(self.table)
        for d in reversed(self.order[1:].tolist()):
            message = (self.table[d].log() + belief[:, d, None]).logsumexp(dim=2)  # [B, states of the parent]
            belief[:, self.parent[d]] += message
        return belief

    def _down(self, belief: Tensor, noise: Noise) -> Tensor:
        """[B, D] levels drawn from the root to the leaves, every state weighted by its belief."""
        count = len(self.sizes)
        uniform = noise.uniform(2, count, dtype=torch.float64)
        state = torch.zeros(len(noise), count, dtype=torch.int64, device=belief.device)
        for d in self.order.tolist():
            logits = self.table[d, state[:, self.parent[d]]].log() + belief[:, d]
            state[:, d] = pick(logits, uniform[:, 0, d])
        if self.group == 1:
            return state
        levels = torch.empty_like(state)
        state_of = torch.arange(self.within.shape[1], device=belief.device) // self.group
        for d in range(count):
            inside = torch.where(state_of == state[:, d, None], self.within[d].log(), -torch.inf)
            levels[:, d] = pick(inside, uniform[:, 1, d])
        return levels


def spanning_tree(weights: Tensor) -> tuple[Tensor, Tensor]:
    """The tree of greatest total weight [D, D] from variable 0: parents before children, and everyone's parent."""
    from scipy.sparse.csgraph import breadth_first_order, minimum_spanning_tree

    cost = 1 + weights.max() - weights  # above 0: scipy takes 0 for no edge
    tree = minimum_spanning_tree(cost.fill_diagonal_(0).numpy())
    order, parent = breadth_first_order(tree, 0, directed=False)
    parent[0] = 0
    return torch.from_numpy(order.copy()).long(), torch.from_numpy(parent.copy()).long()


def _levels(data: DataSpec) -> list[int]:
    """The number of values of every variable; a ModelError where there is a continuous one."""
    if data.kind == "table":
        numbers = [column.name for column in data.columns if column.kind == "number"]
        if numbers:
            drop = "".join(f" -d drop={name}" for name in numbers[:1])
            raise ModelError(
                f"chow_liu models categories, and these columns hold numbers: {listing(numbers)}. Use gmm, or leave"
                f" them out ({drop.strip()})."
            )
        return [column.width for column in data.columns]
    if not data.levels:
        raise ModelError("chow_liu models data of levels (pictures, 0 and 1), and these are continuous. Use gmm.")
    return [data.levels] * data.size
