"""Denoisers on an accelerator beside diffusers': training, its share of the peak, and sampling, for diffusion.py.

Both sides predict the noise of the same 1000 levels, with the same optimiser, precision and memory layout. `unet` has
the same structure and weights on both sides, `default unet` is what `ddpm` takes (without patches), and `dit` a
transformer of the same width, depth and patch; parameters and operations of both sides stand below the table.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusion_peers import Numbered, Theirs, twin
from measured import Figures
from speed import diffusers_unet, flops, size
from torch import Tensor, nn

from exnihilo.core import Batch, DataSpec, GenerativeModel, create
from exnihilo.models.diffusion.networks import TimedNetwork
from exnihilo.nets.dit import DiT
from exnihilo.nets.time_embedding import TimeEmbedding
from exnihilo.nets.unet import UNet
from exnihilo.training.hardware import Hardware

#: Floating-point operations a second in dense bfloat16 (data sheets give twice that, with sparsity).
PEAKS = {"H200": 989.5e12, "H100": 989.5e12, "A100": 312e12, "L40S": 362e12}
STEPS, BATCHES = 50, {"3x32x32": 256, "3x64x64": 128}
WIDTH, LEVELS = 128, 3  # of the U-Nets
TRANSFORMER, HEAD = (384, 12), 64  # width and depth (Peebles & Xie, 2022, size S), channels of a head
MODELS = [(name, source) for source in BATCHES for name in ("unet", "default unet", "dit")]


@dataclass(frozen=True)
class Mode:
    """How both sides compute."""

    precision: Any = "float32"
    channels_last: bool = False
    compiled: bool = False


MODES = {
    "float32": Mode(),
    "bf16": Mode("bfloat16"),
    "bf16, channels-last": Mode("bfloat16", True),
    "bf16, compiled": Mode("bfloat16", False, True),
    "bf16, channels-last, compiled": Mode("bfloat16", True, True),
}


class Transformer(nn.Module):
    """diffusers' DiT as their loop calls it; it wants a class of every picture."""

    def __init__(self, shape: tuple[int, ...], width: int, depth: int, patch: int):
        super().__init__()
        from diffusers import DiTTransformer2DModel

        size = {"num_layers": depth, "sample_size": shape[1], "patch_size": patch}
        self.network = DiTTransformer2DModel(width // HEAD, HEAD, in_channels=shape[0], **size)

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        index = index.expand(len(x)).round().long()
        return self.network(x, index, torch.zeros_like(index)).sample


def sides(name: str, shape: tuple[int, ...]) -> tuple[GenerativeModel, nn.Module]:
    """A ddpm of ours with the network that is asked for, and theirs."""
    spec = DataSpec("image", shape, levels=256)
    ours = create("ddpm", spec, width=8)
    if name == "unet":
        network = diffusers_unet(shape, WIDTH, LEVELS)  # type: ignore[arg-type]
        ours.network = Numbered(twin(network, shape, WIDTH, LEVELS))
        return ours, Theirs(network)
    if name == "default unet":
        body = UNet(shape, WIDTH, 4 * WIDTH, depth=2)
        ours.network = TimedNetwork(body, TimeEmbedding(0, 0, 4 * WIDTH))
        return ours, Theirs(diffusers_unet(shape, WIDTH, LEVELS))  # type: ignore[arg-type]
    width, depth, patch = TRANSFORMER[0], TRANSFORMER[1], shape[1] // 16
    body = DiT(shape, width, width, depth=depth, patch=patch)
    ours.network = TimedNetwork(body, TimeEmbedding(0, 0, width))
    return ours, Transformer(shape, width, depth, patch)


def step_of(hardware: Hardware, module: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    """One step of AdamW in the mode's precision."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with hardware.autocast():
            value = loss()
        value.backward()
        optimizer.step()

    return step


def works(
    ours: GenerativeModel, theirs: nn.Module, mode: Mode, x: Tensor
) -> dict[str, tuple[Callable[[], object], Callable[[], object]]]:
    """Training steps and samplings, ours and theirs."""
    from diffusers import DDIMScheduler, DDPMScheduler

    hardware = Hardware(str(x.device), mode.precision, mode.compiled)
    if mode.channels_last:
        ours, theirs, x = (part.to(memory_format=torch.channels_last) for part in (ours, theirs, x))
    called = torch.compile(theirs) if mode.compiled else theirs
    noising, walking = DDPMScheduler(1000), DDIMScheduler(1000)

    def their_loss() -> Tensor:
        noise, index = torch.randn_like(x), torch.randint(1000, (len(x),), device=x.device)
        return nn.functional.mse_loss(called(noising.add_noise(x, noise, index), index).float(), noise)

    @torch.no_grad()
    def their_samples() -> Tensor:
        walking.set_timesteps(STEPS, device=x.device)
        now = torch.randn_like(x)
        for index in walking.timesteps:
            with hardware.autocast():
                answer = called(now, index)
            now = walking.step(answer, index, now).prev_sample
        return now

    batch, loss = Batch(x), hardware.compiled(ours.loss)

    def our_loss() -> Tensor:
        return torch.stack([term for term in loss(batch).values() if term.requires_grad]).sum()

    sampled, ours.chunk = torch.compile(ours.network) if mode.compiled else ours.network, len(x)

    def our_samples() -> Tensor:
        ours.network = sampled  # training is over by now
        with hardware.autocast():
            return ours.sample(len(x), seed=0, steps=STEPS, solver="ddim")

    return {
        "train": (step_of(hardware, ours, our_loss), step_of(hardware, theirs, their_loss)),
        "sample": (our_samples, their_samples),
    }


def rate(work: Callable[[], object], seconds: float) -> float:
    """Calls a second on the clock, the device's queue emptied: the median of five pieces of the seconds."""
    for _ in range(3):
        work()
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    calls = max(1, round(seconds / 5 / (time.perf_counter() - start)))
    rates = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(calls):
            work()
        torch.cuda.synchronize()
        rates.append(calls / (time.perf_counter() - start))
    return sorted(rates)[2]


def on_gpu(name: str, source: str, seconds: float, seed: int) -> Figures:
    """Every mode of one pair of networks, each for its share of the seconds."""
    if not torch.cuda.is_available():
        sys.exit("no GPU")
    torch.manual_seed(seed)
    shape = tuple(map(int, source.split("x")))
    card = torch.cuda.get_device_name()
    peak = next((number for key, number in PEAKS.items() if key in card), None)
    x = torch.rand(BATCHES[source], *shape, device="cuda") * 2 - 1
    figures: Figures = {}
    best = 0.0
    for mode_name, mode in MODES.items():
        torch._dynamo.reset()
        ours, theirs = (side.to(x.device).train() for side in sides(name, shape))
        counts = [flops(work) for work in works(ours, theirs, Mode(), x)["train"]]  # of a step, not compiled
        pairs = works(ours, theirs, mode, x)
        spent = seconds / len(MODES) / 4
        trains = [rate(work, spent) for work in pairs["train"]]
        ours.eval(), theirs.eval()
        samples = [rate(work, spent) for work in pairs["sample"]]
        row = {"speed": trains[0] / trains[1], "images/s": trains[0] * len(x), "peer images/s": trains[1] * len(x)}
        if peak:
            row |= {"MFU %": 100 * trains[0] * counts[0] / peak, "peer MFU %": 100 * trains[1] * counts[1] / peak}
        row |= {"samples/s": samples[0] * len(x), "peer samples/s": samples[1] * len(x)}
        if trains[0] >= best:
            best = trains[0]
            figures |= {**row, "sampling speed": samples[0] / samples[1], "fastest": mode_name}
        figures |= {f"{name}, {mode_name}: {key}": value for key, value in row.items()}
        print(f"{name} on {source}, {mode_name}: {row}", file=sys.stderr, flush=True)
    return figures | {
        "sizes": f"{card}, torch {torch.__version__}; batch {len(x)}; parameters {size(ours):,} / {size(theirs):,};"
        f" GFLOP of a training step {counts[0] / 1e9:.4g} / {counts[1] / 1e9:.4g}"
    }
