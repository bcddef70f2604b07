"""A density fitted to the codes of a model that has none, so that it can sample."""

from __future__ import annotations

import torch
from torch import Tensor

from exnihilo.core import NOTHING, Conditions, Data, GenerativeModel, Noise, seeded
from exnihilo.explore.codes import encoded, some_examples
from exnihilo.models.classical.mixture import FittedMixture

LIMIT = 20_000  # training examples whose codes are fitted
PER_COMPONENT = 10  # of them, at least


class CodeDensity(GenerativeModel):
    """x = decode(z),  z ~ sum_k w_k N(m_k, S_k): another model's decoder behind a mixture fitted to its codes.

    Ghosh et al., 2020, arXiv:1903.12436, section 4. Samples are means of what a code decodes to, and no density of x
    follows. Caution: as good as the codes are dense - between far clusters of codes nothing was ever decoded.
    """

    average = False

    def __init__(self, model: GenerativeModel, latent: tuple[int, ...], components: int):
        super().__init__()
        model.require("encode", "decode")
        self.model, self.latent = model, latent
        self.mixture = FittedMixture(torch.Size(latent).numel(), components)
        self.spec, self.recipe, self.options = model.spec, model.recipe, model.options

    def encode(self, x: Tensor) -> Tensor:
        return self.model.encode(x)

    def decode(self, z: Tensor) -> Tensor:
        return self.model.decode(z)

    def draw_code(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """[len(noise), *latent] from the mixture."""
        return self.mixture.density.draw(noise).float().view(len(noise), *self.latent)

    def draw(self, noise: Noise, asked: Conditions = NOTHING) -> Tensor:
        """decode(z), z from the mixture."""
        return self.decode(self.draw_code(noise))


@torch.no_grad()
def with_density(model: GenerativeModel, data: Data, *, components: int = 10, seed: int = 0) -> CodeDensity:
    """The model, able to sample: a mixture of Gaussians fitted to the codes of the training split of `data`.

    At most one component for every 10 examples. Unsupported where the model does not both encode and decode.
    """
    model.require("encode", "decode")
    codes = encoded(model, some_examples(model, data, "train", LIMIT).x)
    components = max(1, min(components, len(codes) // PER_COMPONENT))
    whole = CodeDensity(model, tuple(codes.shape[1:]), components)
    with seeded("with_density", seed):
        whole.mixture.fit(codes.flatten(1))
    return whole.eval().to(next((tensor.device for tensor in model.state_dict().values()), torch.device("cpu")))
