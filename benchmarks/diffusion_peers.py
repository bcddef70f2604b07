"""Pairs of ours and a peer's for the speed part of diffusion.py: the same work at equal sizes, see speed.py."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from speed import Foreign, Pair, descent, diffusers_unet, loss_of, pair
from torch import Tensor, nn

from exnihilo.core import DataSpec, GenerativeModel, create
from exnihilo.models.diffusion.couplings import transported
from exnihilo.nets.unet2d import Layout, UNet2D

SHAPE, WIDTH, LEVELS = (3, 16, 16), 32, 3
SPEC = DataSpec("image", SHAPE, levels=256)
BATCH, PAIRED, DRAWN, STEPS = 32, 256, 8, 50
KINDS = {
    "equal networks": "U-Nets of equal structure and weights, of ours our code of it",
    "our network": "our default U-Net on both sides",
    "their network": "diffusers' U-Net on both sides",
}


class Native(nn.Module):
    """Our network where theirs would be, for their loop, which counts levels from 0."""

    def __init__(self, model: GenerativeModel):
        super().__init__()
        self.network, self.clock = model.network, model.path.clock

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        return self.network(x, self.clock((index.expand(len(x)) + 1) / 1000), None, None)


class Theirs(nn.Module):
    """A U-Net of theirs as their loop calls it."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        return self.network(x, index).sample


class Numbered(nn.Module):
    """A network that takes x and the number of a level from 0, where ours would be."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None, attributes: Tensor | None) -> Tensor:
        return self.network(x, t * 1000 - 1)


def twin(theirs: nn.Module, shape: tuple[int, ...], width: int, levels: int) -> UNet2D:
    """Our code of `speed.diffusers_unet`, with its weights."""
    layout = Layout((width, *[2 * width] * (levels - 1)), 1, (False,) * levels, groups=8, middle=False)
    ours = UNet2D(shape[0], shape[0], layout)
    ours.load_state_dict(theirs.state_dict())
    return ours


def networks(kind: str) -> tuple[GenerativeModel, nn.Module]:
    """A ddpm of ours, and what diffusers' loop is to call."""
    ours = create("ddpm", SPEC, width=WIDTH, depth=2)
    if kind == "our network":
        return ours, Native(copy.deepcopy(ours))
    theirs = diffusers_unet(SHAPE, WIDTH, LEVELS)
    if kind == "their network":
        ours.network = Foreign(copy.deepcopy(theirs))
    else:
        ours.network = Numbered(twin(theirs, SHAPE, WIDTH, LEVELS))
    return ours, Theirs(theirs)


def ddpm_step(kind: str) -> Pair:
    """Noise the batch, predict the noise, squared error, backward, AdamW."""
    from diffusers import DDPMScheduler

    ours, theirs = networks(kind)
    x, scheduler = torch.rand(BATCH, *SHAPE) * 2 - 1, DDPMScheduler(1000)

    def their_loss() -> Tensor:
        noise = torch.randn_like(x)
        index = torch.randint(1000, (len(x),))
        return nn.functional.mse_loss(theirs(scheduler.add_noise(x, noise, index), index), noise)

    work = descent(ours, loss_of(ours, x)), descent(theirs, their_loss)
    return pair("ddpm step", "diffusers", *work, (ours, theirs), f"batch {BATCH} of {SHAPE}; {KINDS[kind]}")


def ddim_sampling(kind: str) -> Pair:
    """Pictures in 50 steps of DDIM, the expected data clipped at every step; ours by the public verb."""
    from diffusers import DDIMScheduler

    ours, theirs = networks(kind)
    ours.eval()
    theirs.eval()
    scheduler = DDIMScheduler(1000)

    def our_work() -> Tensor:
        return ours.sample(DRAWN, seed=0, steps=STEPS, solver="ddim")

    @torch.no_grad()
    def their_work() -> Tensor:
        scheduler.set_timesteps(STEPS)
        x = torch.randn(DRAWN, *SHAPE)
        for index in scheduler.timesteps:
            x = scheduler.step(theirs(x, index), index, x).prev_sample
        return x

    note = f"{DRAWN} pictures of {SHAPE}, {STEPS} steps; {KINDS[kind]}"
    return pair("ddim sampling", "diffusers", our_work, their_work, (ours, theirs), note)


def flow_step(kind: str) -> Pair:
    """Pair the batch with noise, a point between them, its velocity, squared error, backward, AdamW."""
    from torchcfm import conditional_flow_matching as peer

    ours = create(kind, SPEC, width=WIDTH, depth=2)
    theirs, x = copy.deepcopy(ours.network), torch.rand(BATCH, *SHAPE) * 2 - 1
    independent = kind == "flow_matching"
    name = "ConditionalFlowMatcher" if independent else "ExactOptimalTransportConditionalFlowMatcher"
    matcher = getattr(peer, name)(0.0)

    def their_loss() -> Tensor:
        t, between, velocity = matcher.sample_location_and_conditional_flow(torch.randn_like(x), x)
        return (theirs(between, t, None, None) - velocity).square().mean()

    work = descent(ours, loss_of(ours, x)), descent(theirs, their_loss)
    return pair(f"{kind} step", "torchcfm", *work, (ours, theirs), f"batch {BATCH} of {SHAPE}; our U-Net on both sides")


def pairing() -> Pair:
    """A batch and its noise paired by exact optimal transport, and nothing else."""
    from torchcfm.optimal_transport import OTPlanSampler

    x, noise, plan, nothing = (
        torch.randn(PAIRED, *SHAPE),
        torch.randn(PAIRED, *SHAPE),
        OTPlanSampler("exact"),
        nn.Module(),
    )
    work = (lambda: transported(x, noise, None)), (lambda: plan.sample_plan(noise, x))
    note = f"batch {PAIRED} of {SHAPE}; theirs draws the pairs from the plan, with repetitions"
    return pair("pairing", "torchcfm", *work, (nothing, nothing), note)


PAIRS: dict[str, Callable[[], Pair]] = {
    **{f"ddpm step, {kind}": lambda kind=kind: ddpm_step(kind) for kind in KINDS},
    **{f"ddim sampling, {kind}": lambda kind=kind: ddim_sampling(kind) for kind in KINDS},
    **{f"{kind} step": lambda kind=kind: flow_step(kind) for kind in ("flow_matching", "ot_cfm")},
    "ot_cfm pairing": pairing,
}
