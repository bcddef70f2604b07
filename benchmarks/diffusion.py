"""Figures of denoisers: samplers by network evaluations, recipes at equal time, bits, few steps, speed, accelerators.

    python benchmarks/diffusion.py                                    # everything; hours
    python benchmarks/diffusion.py --only samplers --names ddpm       # one model by every sampler
    python benchmarks/diffusion.py --only recipes --names flow_matching --seeds 0 1 2
    python benchmarks/diffusion.py --only recipes --seconds 3 --out try
    PYTHONPATH=/tmp/peers python benchmarks/diffusion.py --only speed

Writes benchmarks/results/diffusion.json and .md, and pictures into results/diffusion/. Each model trains in a process
of its own with one thread, for the seconds (of the processor) of its part or --seconds. Parts run one by one: what is
measured again replaces what was measured before, by model, source and seed. The model of `samplers` is kept in
runs/figures: it is trained once, and again only where that folder is deleted.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from diffusion_gpu import MODELS as GPU_MODELS
from diffusion_gpu import on_gpu
from diffusion_peers import PAIRS
from likelihood import levels, parameters
from measured import RESULTS, Figures, Job, Part, main, trained
from speed import race

import exnihilo as xn
from exnihilo.core import ExnihiloError, GenerativeModel, seeded
from exnihilo.data.render import picture, save_picture
from exnihilo.evaluation import Reference
from exnihilo.evaluation import speed as evaluation_speed
from exnihilo.evaluation.distances import frechet
from exnihilo.evaluation.speed import counted_calls
from exnihilo.evaluation.statistics import collect
from exnihilo.models.diffusion.samplers import SOLVERS

KEPT = Path(__file__).parents[1] / "runs" / "figures"
EVALUATIONS = (5, 10, 20, 50, 100, 250)
TWICE = ("heun", "churn", "pc")  # solvers that ask the network twice a step, but once in the first or the last
NOT_ASKED = ("jumps", "langevin")  # for models that answer samples, and for ladders of noise
BEST = ("dpmpp_2m_sde", "ancestral_analytic", "dpmpp_2m")  # at 250 evaluations: with noise two, and one without
DRAWS = 8  # of 1293 samples: one alone says 0.4 more or less
CLOSE = 1.05  # of the best sampler at 250 evaluations, what the default one may cost at 20
SPREADS, LEVELS = 2, 128  # dequantisations of a density, and levels of noise of a bound, that are averaged


def ratio(model: GenerativeModel, reference: Reference, *, seed: int | None = None, **sampling: Any) -> float:
    """The Frechet distance of samples to the split over its floor, as `evaluate` takes it."""
    x = model.spec.quantise(model.sample(reference.n, seed=reference.seed if seed is None else seed, **sampling))
    seen = collect([reference.extractor.features(x)], seed=reference.seed)
    return frechet(seen.gaussian, reference.real.gaussian) / reference.floor


# -- every sampler on one model --------------------------------------------------------------------------------------


def asked_of(solver: str, evaluations: int) -> int:
    """The steps in which a solver asks the network so often, or once less."""
    return (evaluations + 1) // 2 if solver in TWICE else evaluations


def kept(name: str, source: str, seconds: float, seed: int) -> tuple[GenerativeModel, Reference]:
    """The model whose samplers are measured, and what its samples are measured by."""
    data = xn.load_data(source)
    folder = KEPT / f"{name.replace(':', '-')}-{source}-{seconds:g}s-seed{seed}"
    return trained(name, data, seconds, seed, out=folder), Reference.of(data, seed=seed)


def samplers(name: str, source: str, seconds: float, seed: int) -> Figures:
    """The ratio of every solver at every number of evaluations."""
    model, reference = kept(name, source, seconds, seed)
    figures: Figures = {}
    for solver in SOLVERS:
        if solver in NOT_ASKED:
            continue
        try:
            model.sample(2, seed=0, solver=solver, steps=2)
        except ExnihiloError as error:
            print(f"{name} by {solver} is left out: {error}", file=sys.stderr)
            continue
        row = f"{name} by {solver}"
        if solver == "ode":
            with counted_calls(model) as calls:
                figures[f"{row}: adaptive"] = ratio(model, reference, solver=solver)
            figures[f"{row}: evaluations"] = calls[model.network] / math.ceil(reference.n / model.chunk)
            continue
        for count in EVALUATIONS:
            figures[f"{row}: {count}"] = ratio(model, reference, solver=solver, steps=asked_of(solver, count))
    return figures


def default(name: str, source: str, seconds: float, seed: int) -> Figures:
    """The default solver at 20 evaluations beside the best ones at 250: mean ratios of several draws."""
    model, reference = kept(name, source, seconds, seed)
    asked = {"default at 20": {"steps": 20}} | {
        f"{solver} at 250": {"steps": asked_of(solver, 250), "solver": solver} for solver in BEST
    }
    drawn = {
        row: torch.tensor([ratio(model, reference, seed=1 + draw, **options) for draw in range(DRAWS)])
        for row, options in asked.items()
    }
    means = {row: float(values.mean()) for row, values in drawn.items()}
    best = min(value for row, value in means.items() if row.endswith("250"))
    figures: Figures = {
        "default over best": means["default at 20"] / best,
        "in words": f"default: {model.usual_solver(20)}",
    }
    for row, values in drawn.items():
        figures[f"{name}, {row}: ratio"] = means[row]
        figures[f"{name}, {row}: +-"] = 1.96 * float(values.std()) / math.sqrt(DRAWS)
    return figures


# -- recipes at equal time -------------------------------------------------------------------------------------------


def judged(model: GenerativeModel, data: Any, seed: int) -> Figures:
    """Quality, diversity, originality, and what samples cost in seconds of the processor."""
    with mock.patch.object(evaluation_speed, "time", SimpleNamespace(perf_counter=time.process_time)):
        result = xn.evaluate(model, data, seed=seed)
    shown = ("ratio", "precision", "recall", "coverage", "distance_ratio", "confident", "network_evaluations")
    figures = {key: value.value for key in shown if (value := result.get(key))}
    rate = result.get("samples_per_second")
    return figures | ({"seconds per 1000": 1000 / rate.value} if rate else {}) | {"parameters": parameters(model)}


def recipes(name: str, source: str, seconds: float, seed: int) -> Figures:
    data = xn.load_data(source)
    return judged(trained(name, data, seconds, seed), data, seed)


def fitting(source: str) -> Iterator[str]:
    """Every recipe of the family that models a source, and those options that make another model of it."""
    data = xn.load_data(source)
    for entry in xn.list_models("diffusion", data.spec.kind):
        try:
            xn.create(entry.name, data)
        except ExnihiloError as error:
            print(f"{entry.name} is left out: {error}", file=sys.stderr)
            continue
        yield entry.name
    yield from ("ddpm:schedule=cosine", "score_sde:sde=sub_vp", "score_sde:sde=ve", "consistency:method=distillation")


def shown(name: str, source: str, seconds: float, seed: int) -> Figures:
    """As `recipes`, with a picture of 64 samples beside the results."""
    data = xn.load_data(source)
    model = trained(name, data, seconds, seed)
    file = RESULTS / "diffusion" / f"{name}-{source}-{seconds:g}s-seed{seed}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    facts = {"recipe": model.recipe, "options": model.options, "seed": seed, "seconds": seconds}
    save_picture(picture(data.spec, model.sample(64, seed=seed)), file, facts)
    return judged(model, data, seed)


# -- likelihoods -----------------------------------------------------------------------------------------------------

BESIDE = ("histogram", "pixelcnn", "nsf")  # rows of other families, measured as likelihood.py does


def bits(name: str, source: str, seconds: float, seed: int) -> Figures:
    """Bits per pixel of the test split without its classes: a bound, or a density less that of the spread."""
    if name in BESIDE:
        return levels(name, source, seconds, seed)
    data = xn.load_data(source)
    model = trained(name, data, seconds, seed)
    x = data.split("test").first().x
    nats = torch.zeros(len(x), dtype=torch.float64)
    with torch.no_grad(), seeded("bits", seed):
        if model.mass:
            nats = -model.log_prob_bound(x, k=LEVELS, seed=seed).double()
        else:
            for _ in range(SPREADS):
                spread, log_q = data.spec.dequantise(x)
                nats -= (model.log_prob(spread).double() - log_q.double()) / SPREADS
    values = nats / (data.spec.size * math.log(2))
    half = 1.96 * float(values.std()) / math.sqrt(len(values))
    return {"bits": float(values.mean()), "+-": half, "parameters": parameters(model)}


# -- few steps -------------------------------------------------------------------------------------------------------


def few_steps(name: str, source: str, seconds: float, seed: int) -> Figures:
    """The ratio of samples in 1, 2, 4 and 8 evaluations, as far as the model is made for them."""
    data = xn.load_data(source)
    model, reference = trained(name, data, seconds, seed), Reference.of(data, seed=seed)
    recipe = name.partition(":")[0]
    if recipe == "progressive_distillation":
        counts, options = (int(model.student_steps),), {}
    elif recipe == "consistency":
        counts, options = (1, 2), {}
    else:
        counts, options = (1, 2, 4, 8), {"solver": "euler"}
    return {str(count): ratio(model, reference, steps=count, **options) for count in counts}


# -- beside peers ----------------------------------------------------------------------------------------------------


def speed(name: str, source: str, seconds: float, seed: int) -> Figures:
    """Both sides in turn in this process; `seconds` is spent on nine turns of both."""
    torch.manual_seed(seed)
    result = race(PAIRS[name](), turns=9, turn=seconds / 18)
    keys = {"speed": "speed", "speed_lowest": "lowest", "speed_highest": "highest", "ours_ms": "ours ms"}
    figures = {shown: result[key] for key, shown in (keys | {"theirs_ms": "peer ms"}).items()}
    sizes = " / ".join(f"{count:,}" for count in result["parameters"])
    work = " / ".join(f"{count / 1e9:.3g}" for count in result["flops"])
    return {**figures, "against": f"{result['peer']}; {result['note']}; parameters {sizes}; GFLOP {work}"}


# -- the parts -------------------------------------------------------------------------------------------------------


def on(source: str, *names: str, reach: str = "") -> list[Job]:
    return [Job(name, source, reach=reach) for name in names]


PARTS: dict[str, Part] = {
    "samplers": Part(
        "Frechet distance of 1293 samples to the test split of the 8 x 8 digits over its floor, by every sampler, at"
        " most so many evaluations of one network that was trained once. Solvers without noise start from the same"
        " draw and meet in the end; each line and number of those with noise is a draw of its own, 0.4 more or less"
        " (see default). ode: adaptive, as many evaluations as it takes.",
        lambda: on("digits", "ddpm", "flow_matching"),
        samplers,
    ),
    "default": Part(
        f"The same network, mean of {DRAWS} other draws: the default sampler at 20 evaluations, which is to be within"
        f" {100 * (CLOSE - 1):.0f} % of the best at 250; there two with noise that came best in samplers, and one"
        " without, as all of those give the same.",
        lambda: on("digits", "ddpm", reach=f"default over best <= {CLOSE}"),
        default,
    ),
    "recipes": Part(
        "8 x 8 digits, the same seconds of training for all, every one with its default sampler: ratio of the Frechet"
        " distance to its floor (aim of flow_matching: 2.0; 0.4 more or less by chance), precision, recall,"
        " coverage, distance to the nearest training example over that of fresh data (well below 1: copying), share"
        " of samples that a classifier knows with p > 0.9, and seconds of the processor per 1000 samples.",
        lambda: [
            Job(name, "digits", reach="ratio <= 2.5" if name == "flow_matching" else "") for name in fitting("digits")
        ],
        recipes,
    ),
    "bits": Part(
        "8 x 8 digits of 17 levels: bits per pixel of the test split, its classes not told. ddpm, improved_ddpm,"
        f" diffusion_2015, vdm: a bound with {LEVELS} levels of noise an example. score_sde and flow_matching: density"
        " by 24 Kutta steps and one vector of signs, less that of the uniform spread. histogram, pixelcnn, nsf: as"
        " likelihood.py measures them. Three pixels never change, which densities without bound turn into a gain.",
        lambda: on(
            "digits",
            *("histogram", "vdm", "score_sde:density=true", "score_sde:density=true,weighting=likelihood"),
            *("score_sde:density=true,sde=sub_vp", "flow_matching:density=true", "ddpm", "improved_ddpm"),
            *("improved_ddpm:objective=bound", "diffusion_2015", "pixelcnn", "nsf"),
        ),
        bits,
    ),
    "mnist5k": Part(
        "28 x 28 digits, 3,600 to train: as recipes. Their samples, not chosen, lie in diffusion/.",
        lambda: on("mnist5k", "ddpm", "flow_matching"),
        shown,
        seconds=3600.0,
    ),
    "few_steps": Part(
        "8 x 8 digits: the ratio in 1, 2, 4 and 8 evaluations of the network, flows by Euler's method.",
        lambda: on(
            "digits",
            *("flow_matching", "ot_cfm", "rectified_flow"),
            *(f"progressive_distillation:last={steps}" for steps in (1, 2, 4)),
            *("consistency", "consistency:method=distillation"),
        ),
        few_steps,
    ),
    "speed": Part(
        "Side by side with a peer in one process and one thread, in turns, processor time (see speed.py): the peer's"
        " time over ours, turn by turn, the median.",
        lambda: [Job(name, reach="speed >= 1") for name in PAIRS],
        speed,
        seconds=18.0,
    ),
    "gpu": Part(
        "On an accelerator, ours and diffusers' in one process: training pictures a second (noise, forward, backward,"
        " AdamW), the share of the accelerator's bfloat16 peak that their matrix products and convolutions are, and"
        " pictures a second in 50 steps of DDIM; speed: ours over diffusers'.",
        lambda: [Job(name, source, reach="speed >= 1") for name, source in GPU_MODELS],
        on_gpu,
        seconds=60.0,
    ),
}


if __name__ == "__main__":
    main(__file__, __doc__, "Figures of denoisers", PARTS)
