"""Speed side by side with peers: one process, one thread, networks of equal size, the two sides taking turns.

    python benchmarks/speed.py                   # all pairs, about three minutes
    python benchmarks/speed.py realnvp rbm       # those whose name begins so

Each side is warmed up, then both run in turn; a figure is the median over the turns. Writes
benchmarks/results/speed.json and .md. Peers are in the `dev` extra, but for pythae: see README.md beside this file.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import exnihilo.models  # noqa: F401 - registers the recipes
from exnihilo import load_data
from exnihilo.core import Batch, DataSpec, GenerativeModel, create

RESULTS = Path(__file__).parent / "results"
BATCH = 64


@dataclass
class Pair:
    """The same work done by us and by a peer: each call of a side is one unit of it."""

    name: str
    peer: str  # the distribution on PyPI
    ours: Callable[[], object]
    theirs: Callable[[], object]
    note: str
    parameters: tuple[int, int]
    flops: tuple[int, int]  # of one call, matrix products and convolutions only; 0 where torch does not see them


def size(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def flops(work: Callable[[], object]) -> int:
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def pair(
    name: str,
    peer: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    modules: tuple[nn.Module, nn.Module],
    note: str,
) -> Pair:
    return Pair(name, peer, ours, theirs, note, (size(modules[0]), size(modules[1])), (flops(ours), flops(theirs)))


def descent(module: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    """One step of AdamW, as both sides of a training pair take it."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        optimizer.step()

    return step


def loss_of(model: GenerativeModel, x: Tensor) -> Callable[[], Tensor]:
    """The terms of a model with one player, summed as the trainer does."""
    model.train()
    batch = Batch(x)
    return lambda: torch.stack([term for term in model.loss(batch).values() if term.requires_grad]).sum()


# -- the pairs -------------------------------------------------------------------------------------------------------


def diffusers_unet(shape: tuple[int, int, int], width: int, levels: int) -> nn.Module:
    """Their U-Net, as like ours as its options allow: adaptive group norm and no attention."""
    from diffusers import UNet2DModel

    return UNet2DModel(
        sample_size=shape[1],
        in_channels=shape[0],
        out_channels=shape[0],
        block_out_channels=(width, *[2 * width] * (levels - 1)),
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * levels,
        up_block_types=("UpBlock2D",) * levels,
        norm_num_groups=8,
        resnet_time_scale_shift="scale_shift",
        add_attention=False,
    )


class Foreign(nn.Module):
    """Their network where ours would be: only the work around it differs."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None, attributes: Tensor | None) -> Tensor:
        return self.network(x, t * 1000 - 1).sample


def ddpm() -> Iterator[Pair]:
    """A training step of DDPM: noise the batch, predict the noise, squared error, backward, AdamW."""
    from diffusers import DDPMScheduler

    shape, width, levels = (3, 16, 16), 32, 3
    x = torch.rand(32, *shape) * 2 - 1
    scheduler = DDPMScheduler(num_train_timesteps=1000)
    theirs = diffusers_unet(shape, width, levels)

    def their_loss() -> Tensor:
        noise = torch.randn_like(x)
        index = torch.randint(scheduler.config.num_train_timesteps, (len(x),))
        answer = theirs(scheduler.add_noise(x, noise, index), index).sample
        return nn.functional.mse_loss(answer, noise)

    step = descent(theirs, their_loss)
    ours = create("ddpm", DataSpec("image", shape, levels=256), width=width, depth=2)
    yield pair(
        "ddpm training step",
        "diffusers",
        descent(ours, loss_of(ours, x)),
        step,
        (ours, theirs),
        f"batch 32 of {shape}; U-Nets of channels 32, 64, 64: ours 9 residual blocks, theirs 8, with more skips",
    )
    same = create("ddpm", DataSpec("image", shape, levels=256), width=8)
    same.network = Foreign(diffusers_unet(shape, width, levels))
    yield pair(
        "ddpm training step, same network",
        "diffusers",
        descent(same, loss_of(same, x)),
        step,
        (same, theirs),
        "diffusers' U-Net on both sides: what the rest of the step costs",
    )


def vae() -> Iterator[Pair]:
    """A training step of a Bernoulli VAE: encode, draw, decode, bound, backward, AdamW; the same layers twice."""
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def __init__(self, layers: nn.Module):
            super().__init__()
            self.layers = layers

        def forward(self, x: Tensor) -> ModelOutput:
            mean, log_variance = self.layers(x).unbind(1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self, layers: nn.Module):
            super().__init__()
            self.layers = layers

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.layers(z).sigmoid())

    for features, width, depth in ((64, 384, 2), (784, 512, 2)):
        x = torch.rand(BATCH, features).round()
        ours = create("vae", DataSpec("vector", (features,), levels=2), latent=16, width=width, depth=depth)
        layers = copy.deepcopy((ours.encoder, ours.decoder))
        config = VAEConfig(input_dim=(features,), latent_dim=16, reconstruction_loss="bce")
        theirs = VAE(config, Encoder(layers[0]), Decoder(nn.Sequential(layers[1], nn.Flatten()))).train()

        def their_loss(theirs: nn.Module = theirs, x: Tensor = x) -> Tensor:
            return theirs({"data": x}).loss

        yield pair(
            f"vae training step, {features} numbers",
            "pythae",
            descent(ours, loss_of(ours, x)),
            descent(theirs, their_loss),
            (ours, theirs),
            f"batch {BATCH}, {depth} hidden layers of {width} each way, code of 16",
        )


def vqvae() -> Iterator[Pair]:
    """A training step of a vector-quantised autoencoder with a codebook of running means; the same layers twice."""
    from pythae.models import VQVAE, VQVAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def __init__(self, layers: nn.Module):
            super().__init__()
            self.layers = layers

        def forward(self, x: Tensor) -> ModelOutput:
            return ModelOutput(embedding=self.layers(x))

    class Decoder(BaseDecoder):
        def __init__(self, layers: nn.Module):
            super().__init__()
            self.layers = layers

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=self.layers(z).sigmoid())

    for shape, codes in (((1, 28, 28), 64), ((1, 28, 28), 512)):
        x = torch.rand(BATCH, *shape).round() * 2 - 1
        ours = create("vqvae", DataSpec("image", shape, levels=2), codes=codes)
        layers = copy.deepcopy((ours.encoder, ours.decoder))
        config = VQVAEConfig(input_dim=shape, latent_dim=16, num_embeddings=codes, use_ema=True, decay=0.99)
        theirs = VQVAE(config, Encoder(layers[0]), Decoder(layers[1])).train()
        step = descent(ours, loss_of(ours, x))

        def our_step(step: Callable[[], None] = step, learn: Callable[[], None] = ours.codebook.learn) -> None:
            step()
            learn()  # the trainer does it after the step; theirs happens in the loss

        def their_loss(theirs: nn.Module = theirs, x: Tensor = x) -> Tensor:
            return theirs({"data": x}).loss

        yield pair(
            f"vqvae training step, {codes} codes",
            "pythae",
            our_step,
            descent(theirs, their_loss),
            (nn.ModuleList([ours.encoder, ours.decoder, ours.likelihood]), theirs),
            f"batch {BATCH}, 28 x 28, convolutions; ours: Bernoulli head, dead codes revived; theirs: squared error",
        )


def realnvp() -> Iterator[Pair]:
    """Densities and samples of eight affine couplings of 64 numbers."""
    import zuko

    ours = create("realnvp", DataSpec("vector", (64,)), width=256, depth=8, dropout=0.0)
    theirs = zuko.flows.RealNVP(64, transforms=8, randmask=True, hidden_features=(256, 256)).eval()
    modules = (ours, theirs)
    for n in (64, 1024):
        x = torch.randn(n, 64)
        note = f"{n} rows of 64; 8 couplings, hidden layers 256, 256"

        def our_density(x: Tensor = x) -> Tensor:
            with torch.no_grad():
                return ours.log_prob(x)

        def their_density(x: Tensor = x) -> Tensor:
            with torch.no_grad():
                return theirs().log_prob(x)

        def their_sample(n: int = n) -> Tensor:
            with torch.no_grad():
                return theirs().sample((n,))

        def our_sample(n: int = n) -> Tensor:
            return ours.sample(n, seed=0)

        yield pair(f"realnvp log_prob, {n} rows", "zuko", our_density, their_density, modules, note)
        yield pair(f"realnvp sampling, {n} rows", "zuko", our_sample, their_sample, modules, note)


def rbm() -> Iterator[Pair]:
    """An epoch of persistent contrastive divergence on digits in black and white, one Gibbs sweep an update."""
    from sklearn.neural_network import BernoulliRBM

    for source, batch, hidden in (("digits", 10, 64), ("digits", BATCH, 128), ("mnist5k", BATCH, 256)):
        x = (load_data(source).split("train").first().x > 0).flatten(1).float()
        entries, binary = x.shape[1], x.numpy()
        theirs = BernoulliRBM(hidden, learning_rate=0.05, batch_size=batch, n_iter=1, random_state=0)
        ours = create("rbm", DataSpec("vector", (entries,), levels=2), width=hidden, chains=batch)
        ours.train()
        optimizer = torch.optim.SGD(ours.parameters(), lr=0.05)

        def epoch(
            x: Tensor = x, batch: int = batch, ours: GenerativeModel = ours, optimizer: torch.optim.SGD = optimizer
        ) -> None:
            for part in x[torch.randperm(len(x))].split(batch):
                optimizer.zero_grad(set_to_none=True)
                ours.loss(Batch(part))["gap"].backward()
                optimizer.step()

        def their_epoch(binary: np.ndarray = binary, theirs: BernoulliRBM = theirs) -> None:
            theirs.fit(binary)

        note = f"{len(x)} rows of {entries}, batch {batch}, {hidden} hidden units, {batch} chains"
        count = size(ours)
        yield Pair(
            f"rbm epoch, {entries} entries, batch {batch}",
            "scikit-learn",
            epoch,
            their_epoch,
            note,
            (count, count),
            (0, 0),
        )


PAIRS: dict[str, Callable[[], Iterator[Pair]]] = {
    "ddpm": ddpm,
    "vae": vae,
    "vqvae": vqvae,
    "realnvp": realnvp,
    "rbm": rbm,
}


# -- the stopwatch ---------------------------------------------------------------------------------------------------


def seconds(work: Callable[[], object], calls: int) -> float:
    """Of the processor per call, over so many in a row: with one thread the time on the clock of an idle machine."""
    start = time.process_time()
    for _ in range(calls):
        work()
    return (time.process_time() - start) / calls


def race(contest: Pair, turns: int, turn: float) -> dict[str, object]:
    """Both sides in turn, the one that begins changing each time; about `turn` seconds of work a side and turn."""
    calls = {}
    for side, work in (("ours", contest.ours), ("theirs", contest.theirs)):
        seconds(work, 2)  # warm-up
        calls[side] = max(1, round(turn / seconds(work, 2)))
    times: dict[str, list[float]] = {"ours": [], "theirs": []}
    for index in range(turns):
        sides = (("ours", contest.ours), ("theirs", contest.theirs))
        for side, work in sides if index % 2 == 0 else sides[::-1]:
            times[side].append(seconds(work, calls[side]))
    ratios = [theirs / ours for ours, theirs in zip(times["ours"], times["theirs"], strict=True)]
    return {
        "name": contest.name,
        "peer": f"{contest.peer} {importlib.metadata.version(contest.peer)}",
        "ours_ms": 1000 * statistics.median(times["ours"]),
        "theirs_ms": 1000 * statistics.median(times["theirs"]),
        "speed": statistics.median(ratios),
        "speed_lowest": min(ratios),
        "speed_highest": max(ratios),
        "parameters": contest.parameters,
        "flops": contest.flops,
        "note": contest.note,
    }


def measure(names: list[str], turns: int, turn: float) -> list[dict[str, object]]:
    rows = []
    for name, pairs in PAIRS.items():
        if names and name not in names:
            continue
        torch.manual_seed(0)
        try:
            for contest in pairs():
                rows.append(race(contest, turns, turn))
                print(f"{contest.name}: {rows[-1]['speed']:.2f} x", file=sys.stderr, flush=True)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("exnihilo"):
                raise
            rows.append({"name": name, "missing": f"{error}; see benchmarks/README.md"})
            print(f"{name}: {error}", file=sys.stderr)
    return rows


def table(rows: list[dict]) -> str:
    """One pair a line; speed above 1 means that ours is faster."""
    lines = [
        "| work | ours, ms | peer, ms | speed | lowest to highest | parameters | GFLOP | peer | sizes |",
        "|---|--:|--:|--:|---|---|---|---|---|",
    ]
    for row in rows:
        if "missing" in row:
            lines.append(f"| {row['name']} | | | not measured | | | | | {row['missing']} |")
            continue
        work = " / ".join(f"{count / 1e9:.3g}" for count in row["flops"]) if any(row["flops"]) else ""
        count = " / ".join(f"{count:,}" for count in row["parameters"])
        lines.append(
            f"| {row['name']} | {row['ours_ms']:.3g} | {row['theirs_ms']:.3g} | {row['speed']:.2f} x"
            f" | {row['speed_lowest']:.2f} to {row['speed_highest']:.2f} | {count} | {work}"
            f" | {row['peer']} | {row['note']} |"
        )
    return "\n".join(lines)


def processor() -> str:
    """The model of the processor, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *PAIRS], metavar="NAME", help=", ".join(PAIRS))
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--turn", type=float, default=0.5, help="seconds of work a side and turn")
    parser.add_argument("--out", default="speed")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    with threadpool_limits(1):  # numpy's and scikit-learn's
        rows = measure(chosen.names, chosen.turns, chosen.turn)
    head = {
        "command": "python " + " ".join(["benchmarks/speed.py", *sys.argv[1:]]),
        "machine": f"{processor()}, {os.cpu_count()} cores, 1 thread; load {os.getloadavg()[0]:.1f} at the end",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{chosen.out}.json").write_text(json.dumps(head | {"rows": rows}, indent=1) + "\n")
    about = "\n".join(f"- {key}: {value}" for key, value in head.items())
    text = (
        f"# Speed beside peers\n\n{about}\n\n"
        f"Medians over {chosen.turns} turns in which both sides ran one after the other, of processor time; speed: the"
        " peer's time over ours (above 1: ours is faster), turn by turn. Parameters and GFLOP (matrix products and"
        " convolutions of one call, counted by torch) as ours / the peer's.\n\n"
        f"{table(rows)}\n"
    )
    (RESULTS / f"{chosen.out}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
