"""Systems with the U-Net of the papers, whose weights go to diffusers and come from there."""

from __future__ import annotations

from typing import Annotated, Literal

from exnihilo.core import DataSpec, adamw, cosine, recipe
from exnihilo.models.diffusion.guided import GuidedDiffusion
from exnihilo.models.diffusion.networks import TIMED, box_of, network_optimizer, timed_network
from exnihilo.models.diffusion.predictions import predict_noise
from exnihilo.models.diffusion.standard import noisy_classifier, standard_network, usual_layout
from exnihilo.probability.schedules import Discrete, cosine_betas, linear_betas


@recipe("Diffusion Models Beat GANs on Image Synthesis", "Dhariwal & Nichol, 2021", arxiv="2105.05233", kinds=TIMED)
def adm(
    data: DataSpec,
    *,
    width: Annotated[int, 8, 512] = 16,
    depth: Annotated[int, 1, 8] = 1,
    attention: Annotated[int, 0, 64] = 8,
    schedule: Literal["linear", "cosine"] = "cosine",
    classifier: Annotated[float, 0, 0.9] = 0.25,
) -> GuidedDiffusion:
    """Class-conditional diffusion with learned variances, and a classifier of noisy examples that guides it.

    width: channels of the U-Net at full resolution; fully connected networks take 16 times as many units. attention:
    maps of at most this side attend to themselves. schedule: cosine destroys small pictures more slowly. classifier:
    its share of the rounds, in a second stage; 0, or data without labels, leaves it out. Ask for its guidance by
    `classifier_guidance`. Unlike the paper's: 1000 levels of a cosine, and sides are halved by convolutions.
    """
    path = Discrete(linear_betas() if schedule == "linear" else cosine_betas())
    if data.kind == "image":
        network = standard_network(data, usual_layout(data, width, depth, attention), path.steps, outputs=2)
    else:
        network = timed_network(data, width, depth, outputs=2)
    guide = noisy_classifier(data, width, depth, attention, path.steps) if data.classes and classifier else None
    model = GuidedDiffusion(
        network,
        path,
        predict_noise,
        hybrid=True,
        classifier=guide,
        share=classifier,
        rate=adamw(1e-3, decay=0.05, clip=1.0, schedule=cosine(warmup=0.03, hold=0.3, end=0.01)),
        box=box_of(data),
        mass=data.discrete,
        labelled=data.classes > 0,
    )
    model.optimizer = network_optimizer(data, width)
    return model
