"""Adversarial networks that find the unusual."""

from __future__ import annotations

from typing import Annotated

from exnihilo.core import DataSpec
from exnihilo.models.gans.anomalies import AnoGAN
from exnihilo.models.gans.networks import pair_for
from exnihilo.models.gans.recipes import Rate, Width, adversarial, calm, sized
from exnihilo.models.gans.zoo.encoders import code_length
from exnihilo.models.projector import Projector


@adversarial(
    "Unsupervised Anomaly Detection with Generative Adversarial Networks to Guide Marker Discovery",
    "Schlegl et al., 2017",
    arxiv="1703.05921",
)
def anogan(
    data: DataSpec,
    *,
    latent: Annotated[int, 1, 1024] | None = None,
    width: Width | None = None,
    share: Annotated[float, 0, 1] = 0.1,
    steps: Annotated[int, 1, 10_000] = 300,
    starts: Annotated[int, 1, 100] = 2,
    penalty: Annotated[float, 0, 1000] = 1.0,
    rate: Rate | None = None,
) -> AnoGAN:
    """Trained on the usual, it calls unusual what it cannot make, however long it searches its latents for it.

    Train it on normal examples only. An example's code is the best of `starts` descents of so many `steps`; its score
    (1 - share) |x - G(z)| + share |f(x) - f(G(z))| with features f of the critic, relative to their size. Unlike the
    paper's: means for sums, several starts, 300 steps for 500; R1 of weight `penalty`. Caution: `encode` takes hundreds
    of passes, and unusual examples near what the generator makes go unseen.
    """
    width, rate = sized(data, width, rate)
    latent = code_length(data, latent)
    return AnoGAN(
        *pair_for(data, latent, width),
        latent=latent,
        projector=Projector(steps=steps, starts=starts),
        share=share,
        **calm(data, rate, penalty),
    )
