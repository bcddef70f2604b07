"""Figures of models with a likelihood: autoregressive ones, flows, Boltzmann machines; text, sound and series.

    EXNIHILO_DATA=DATA python benchmarks/likelihood.py               # everything; hours
    python benchmarks/likelihood.py --only digits binary rbm         # what needs no $EXNIHILO_DATA
    python benchmarks/likelihood.py --only digits --names gated_pixelcnn nsf --seeds 0 1 2
    python benchmarks/likelihood.py --only binary --seconds 3 --out try

Writes benchmarks/results/likelihood.json and .md. Each model trains in a process of its own with one thread, for the
seconds (of the processor) of its part or --seconds, and keeps the weights that the validation split liked best; figures
are of the test split. Parts run one by one: what is measured again replaces what was measured before, by model, source
and seed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from autoencoders import digits as digits_by_writer
from likelihood_peers import PAIRS
from likelihood_spoken import spoken
from measured import Figures, Job, Part, main, shared_data, trained
from speed import race
from torch import Tensor

import exnihilo as xn
from exnihilo import tasks
from exnihilo.core import Batch, GenerativeModel
from exnihilo.data.arrays import image_dataset, vector_dataset
from exnihilo.data.dataset import Dataset
from exnihilo.evaluation.baselines import Histogram
from exnihilo.evaluation.likelihood import log_likelihood
from exnihilo.evaluation.ngrams import NGram, runs_of
from exnihilo.evaluation.running_text import reads_on, running_likelihood
from exnihilo.models.energy.boltzmann import RestrictedBoltzmannMachine
from exnihilo.models.energy.units import BoltzmannModel

DRAWS = 500  # importance samples behind a bound
TESTED = 4000  # test examples at most
PACKED = 1000  # test examples in a compressed file, at most
WINDOW = 128  # characters


def parameters(model: GenerativeModel) -> int:
    return sum(weight.numel() for weight in model.parameters())


def fitted(name: str, data: Dataset, seconds: float, seed: int) -> GenerativeModel:
    """A trained model, or the row of independent histograms or of a model of order n."""
    if name == "histogram":
        return Histogram(data.spec, data.split("train").first())
    if name.endswith("-gram"):
        return NGram(data.spec, runs_of(data.split("train")), int(name.removesuffix("-gram")))
    return trained(name, data, seconds, seed)


@torch.no_grad()
def nats(model: GenerativeModel, batch: Batch) -> Tensor:
    """[B] minus the log-probability: exact, over dequantised levels, or bounded with `DRAWS` draws."""
    if model.mass and "log_prob" not in model.capabilities:
        return -torch.cat([model.log_prob_bound(x, k=DRAWS) for x in batch.x.split(16)]).double()
    return -log_likelihood(model, batch)[0]


def judged(model: GenerativeModel, data: Dataset, name: str, divisor: float = 1.0) -> Figures:
    """The mean over test examples, half of its 95 % interval, and the size of the model."""
    values = nats(model, data.split("test").first(TESTED)) / divisor
    half = 1.96 * float(values.std()) / math.sqrt(len(values))
    return {name: float(values.mean()), "+-": half, "parameters": parameters(model)}


# -- pictures and vectors --------------------------------------------------------------------------------------------


def levels(name: str, source: str, seconds: float, seed: int) -> Figures:
    data = xn.load_data(source)
    return judged(fitted(name, data, seconds, seed), data, "bits", data.spec.size * math.log(2))


def binarised(source: str) -> Dataset:
    """A set of pictures in black and white: each pixel drawn once, white with the probability that its grey says.

    The splits are those of the grey pictures (the fixed binarisation of Larochelle & Murray, 2011).
    """
    data = xn.load_data(source)
    parts = [data.split(part).first() for part in ("train", "validation", "test")]
    grey = np.concatenate([data.spec.decode(part.x) for part in parts]) / (data.spec.levels - 1)
    own = torch.cat([torch.full((len(part),), number) for number, part in enumerate(parts)])
    ink = np.random.default_rng(0).random(grey.shape) < grey
    return image_dataset(ink.astype(np.uint8), torch.cat([part.label for part in parts]).numpy(), levels=2, own=own)


def binary(name: str, source: str, seconds: float, seed: int) -> Figures:
    data = binarised(source)
    return judged(fitted(name, data, seconds, seed), data, "nats")


def density_set(source: str) -> Dataset:
    """Vectors in units of the training split's standard deviations; counts are spread over the steps they stand for.

    Patches as in Papamakarios et al., 2017: even noise, less the patch's mean, without the last pixel. The other two
    lie sorted by class, so their rows are shuffled.
    """
    file = np.load(shared_data("density") / f"{source}.npz")
    chance = np.random.default_rng(0)
    if source != "bsds300_patches8":
        x = chance.permutation(file["X"])
        return vector_dataset(x + chance.random(x.shape) if source == "cover10_60k" else x)
    parts = [file[part].reshape(len(file[part]), -1) for part in ("train", "valid", "test")]
    own = torch.cat([torch.full((len(part),), number) for number, part in enumerate(parts)])
    x = np.concatenate(parts)
    x = (x + chance.random(x.shape)) / 256
    return vector_dataset((x - x.mean(axis=1, keepdims=True))[:, :-1], own=own)


def density(name: str, source: str, seconds: float, seed: int) -> Figures:
    data = density_set(source)
    return judged(fitted(name, data, seconds, seed), data, "nats")


# -- Boltzmann machines ----------------------------------------------------------------------------------------------


def peer_machine(model: RestrictedBoltzmannMachine, data: Dataset, seconds: float, seed: int, falling: bool) -> None:
    """Train scikit-learn's machine for as many seconds, on the same rows, and hand its weights to ours to be judged.

    Batches of 10 and a rate of 0.1 are its defaults; falling: the rate goes to 0 with time, as ours does.
    """
    from sklearn.neural_network import BernoulliRBM

    rows = model.to_state(data.split("train").first().x).numpy()
    theirs = BernoulliRBM(model.weight.shape[1], random_state=seed)
    chance, start = np.random.default_rng(seed), time.process_time()
    while (gone := (time.process_time() - start) / seconds) < 1:
        theirs.learning_rate = 0.1 * (1 - gone) if falling else 0.1
        for part in np.array_split(chance.permutation(len(rows)), len(rows) // theirs.batch_size):
            theirs.partial_fit(rows[part])
    with torch.no_grad():
        model.settle(data.split("train").first().x)  # the independent units from which annealing starts
        model.weight.copy_(torch.from_numpy(theirs.components_.T))
        model.visible_bias.copy_(torch.from_numpy(theirs.intercept_visible_))
        model.hidden_bias.copy_(torch.from_numpy(theirs.intercept_hidden_))


def machines(name: str, source: str, seconds: float, seed: int) -> Figures:
    """Exact where states can be enumerated, else by annealed importance sampling with its interval.

    Of a deep machine the energy is the mean-field bound, of a belief net the whole figure a bound with many draws.
    """
    data = digits_by_writer(threshold=8)
    test = data.split("test").first()
    recipe, _, peer = name.partition(" by ")
    if peer:
        model = xn.create("rbm", data, width=int(recipe.partition("=")[2]))
        peer_machine(model, data, seconds, seed, falling="falling" in peer)
    else:
        model = trained(recipe, data, seconds, seed)
    if not isinstance(model, BoltzmannModel):
        return {"nats": float(nats(model, test).mean())}
    with torch.no_grad():
        energy = float(model.energy(test.x).double().mean())
    estimate = model.log_partition(chains=500, temperatures=8000)
    return {"nats": energy + estimate.value, "low": energy + estimate.low, "high": energy + estimate.high}


# -- series and text -------------------------------------------------------------------------------------------------

SERIES: dict[str, tuple[dict[str, Any], int]] = {  # how a file is read, and the steps ahead
    "ETTh1": ({"time": "date", "window": 96}, 24),
    "sunspots_yearly": ({"time": "YEAR", "window": 33, "stride": 1}, 11),
}


def forecasts(name: str, source: str, seconds: float, seed: int) -> Figures:
    """The model and, on the same windows, what it has to beat."""
    options, horizon = SERIES[source]
    data = xn.load_data(shared_data("timeseries") / f"{source}.csv", **options)
    answer = tasks.forecast(trained(name, data, seconds, seed), data, horizon=horizon, seed=seed)
    assert answer.judged is not None
    figures: Figures = {}
    for place, (row, values) in enumerate(answer.judged.rows.items()):
        figures |= {f"{row}: {key}" if place else key: value.value for key, value in values.items()}
    return figures


def text_set(source: str) -> Dataset:
    return xn.load_data(shared_data("text") / f"{source}.txt", window=WINDOW)


def text(name: str, source: str, seconds: float, seed: int) -> Figures:
    """Bits per character, and what the model writes after a prompt."""
    data = text_set(source)
    model = fitted(name, data, seconds, seed)
    test = data.split("test")
    assert reads_on(model, test)
    value = running_likelihood(model, test, source, TESTED)[1]
    figures = {"bits": value.value, "+-": value.high - value.value, "parameters": parameters(model)}
    if isinstance(model, NGram):
        return {**figures, "three samples": "\n---\n".join(data.spec.decode(model.sample(3, seed=seed)))}
    prompt = data.spec.tokenize("ROMEO:\n").expand(3, -1)
    drawn = model.sample(3, seed=seed, text=prompt)
    return {**figures, "three samples": "\n---\n".join(data.spec.decode(drawn))}


def compress(name: str, source: str, seconds: float, seed: int) -> Figures:
    """Bits per entry of a file of test examples, which is read back and compared."""
    data = xn.load_data(source) if source == "digits" else text_set(source)
    model = trained(name, data, seconds, seed)
    x = data.split("test").first(PACKED).x
    packed = tasks.compress(model, x)
    sizes = packed.sizes()
    each = {key: 8 * size / packed.entries for key, size in sizes.items()}
    above = 100 * (8 * sizes["this file"] / packed.ideal_bits - 1)
    return {
        "bits": each["this file"],
        "ideal": packed.ideal_bits / packed.entries,
        "% above": above,
        "gzip": each["gzip -9"],
        "xz": each["xz -9e"],
        "lossless": float(torch.equal(tasks.decompress(model, packed.content), x)),
    }


# -- beside peers ----------------------------------------------------------------------------------------------------


def speed(name: str, source: str, seconds: float, seed: int) -> Figures:
    """Both sides in turn in this process; `seconds` is spent on nine turns of both."""
    torch.manual_seed(seed)
    result = race(PAIRS[name](), turns=9, turn=seconds / 18)
    keys = {"speed": "speed", "speed_lowest": "lowest", "speed_highest": "highest", "ours_ms": "ours ms"}
    figures = {shown: result[key] for key, shown in (keys | {"theirs_ms": "peer ms"}).items()}
    counts = [f"{count:,}" for count in result["parameters"]]
    return {**figures, "against": f"{result['peer']}; {result['note']}; parameters {' / '.join(counts)}"}


# -- the parts -------------------------------------------------------------------------------------------------------


def on(sources: Sequence[str], *jobs: Job) -> list[Job]:
    """The same jobs on several sources."""
    return [Job(job.name, source, job.longer, job.reach) for source in sources for job in jobs]


PARTS: dict[str, Part] = {
    "digits": Part(
        "8 x 8 digits of 17 levels (`load_data('digits')`, its own hashed split): bits per pixel of the test split."
        " Exact, but flows: uniform dequantisation, and latent variables: a bound with 500 draws. Three pixels never"
        " change, which densities without bound turn into a gain. histogram: every pixel by itself.",
        lambda: on(
            ["digits"],
            *map(Job, ("histogram", "chow_liu", "gmm", "vae:likelihood=logistic", "fvsbn", "nade", "made", "pixelcnn")),
            Job("gated_pixelcnn", reach="bits <= 1.86"),
            Job("gated_pixelcnn", longer=5, reach="bits <= 1.80"),
            *map(Job, ("pixelrnn", "pixelcnn_pp", "gpt", "nice")),
            Job("realnvp", reach="bits <= 2.45"),
            *map(Job, ("glow", "maf")),
            Job("nsf", reach="bits <= 2.15"),
            *map(Job, ("flow_pp", "residual_flow", "ffjord")),
        ),
        levels,
    ),
    "binary": Part(
        "28 x 28 digits in black and white, drawn once from their grey levels (mnist5k, 3,600 to train): nats of a"
        " test picture. Published with 50,000 training pictures: NADE 88.3, MADE 86.6 to 88.4, PixelCNN 81.3; none of"
        " these can be reached with 3,600, their order can.",
        lambda: on(["mnist5k"], *map(Job, ("histogram", "chow_liu", "fvsbn", "nade", "made", "pixelcnn"))),
        binary,
        seconds=120.0,
        order=(("fvsbn",), ("nade", "made"), ("pixelcnn",)),
    ),
    "density": Part(
        "Vectors, every column in units of its standard deviation in the training split: minus the log-density of a"
        " test example in nats (first 4,000 of the test split). cover10: whole numbers spread over their steps;"
        " BSDS300: patches of 8 x 8 with even noise, less their mean, 63 numbers - not the file of the MAF paper.",
        lambda: on(
            ["magic_gamma", "cover10_60k", "bsds300_patches8"],
            *map(Job, ("gmm:components=1", "gmm:components=20", "made", "realnvp", "maf", "nsf", "ffjord")),
        ),
        density,
        order=(("made", "realnvp", "maf", "ffjord"), ("nsf",)),
    ),
    "rbm": Part(
        "8 x 8 digits, at least half ink or less, the last 360 (other writers) to test on: nats of a test picture. Up"
        " to 20 hidden units exact by enumeration; beyond, annealed importance sampling (500 chains, 8,000"
        " temperatures), low to high: three standard errors each way. scikit-learn's machine learns for as many"
        " seconds, at its default rate of 0.1 or at one that falls to 0 as ours does, and is judged by the same code."
        " dbn and dbm: bounds.",
        lambda: on(
            ["digits"],
            Job("rbm:width=64", reach="nats <= 17.2"),
            Job("rbm:width=64 by scikit-learn"),
            Job("rbm:width=64 by scikit-learn, falling"),
            Job("rbm:width=14", reach="nats <= 18.6"),
            Job("rbm:width=14 by scikit-learn"),
            Job("rbm:width=14 by scikit-learn, falling"),
            *map(Job, ("dbn", "dbm")),
        ),
        machines,
        seconds=20.0,
    ),
    "text": Part(
        f"Tiny Shakespeare: bits per character of its last 20 %, each after {WINDOW // 2} to {WINDOW - 1} characters"
        " that stand before it, for every model alike.",
        lambda: on(["tinyshakespeare"], *map(Job, ("1-gram", "3-gram", "5-gram", "gpt"))),
        text,
        seconds=900.0,
        order=(("5-gram",), ("gpt",)),
    ),
    "spoken": Part(
        "Spoken digits of four speakers, half a second at 4 kHz and 256 levels of the mu-law: bits per sample of a test"
        " recording, and the share of drawn recordings in which a logistic regression, taught spectrograms of real"
        " ones, hears the digit that was asked for. The samples lie in spoken/, their spectrograms in spoken.png."
        " WaveNet sees all that was said before: a view that is shorter than a digit loses its way in it.",
        lambda: on(["fsdd"], *map(Job, ("2-gram", "wavenet:conditional=true,depth=10"))),
        spoken,
        seconds=2400.0,
    ),
    "forecast": Part(
        "Windows of 96 hours of seven channels (ETTh1), the last 24 to be told; of 33 years of sunspots, the last 11:"
        " figures of `tasks.forecast` with 100 paths on at most 100 windows of the last 20 %. crps and mae in standard"
        " deviations of ETTh1's channels, in spots of the sunspots.",
        lambda: on(list(SERIES), *map(Job, ("deep_ar", "deep_ar:head=student", "hmm"))),
        forecasts,
        order=(("naive", "linear"), ("deep_ar",)),
    ),
    "compress": Part(
        f"Files of `tasks.compress`, up to {PACKED} examples of the test split: bits per pixel or character, what the"
        " model's probabilities allow, and gzip -9 and xz -9e of the same bytes. lossless: read back, it is the same.",
        lambda: [
            Job(name, source, reach="% above <= 1")
            for name, source in (("pixelcnn", "digits"), ("gpt", "digits"), ("gpt", "tinyshakespeare"))
        ],
        compress,
    ),
    "speed": Part(
        "Side by side with a peer in one process and one thread, in turns, processor time (see speed.py): the peer's"
        " time over ours, turn by turn, the median.",
        lambda: [Job(name, reach="speed >= 1") for name in PAIRS],
        speed,
        seconds=9.0,
    ),
}


if __name__ == "__main__":
    main(__file__, __doc__, "Figures of models with a likelihood", PARTS)
