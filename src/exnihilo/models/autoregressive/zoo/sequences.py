"""Step by step in time: transformers over tokens, dilated convolutions over sound, recurrent forecasters."""

from __future__ import annotations

from typing import Annotated, Literal

from exnihilo.core import DataSpec, ModelError, OptionError, adamw, cosine, recipe
from exnihilo.models.autoregressive.forecasters import Forecaster
from exnihilo.models.autoregressive.heads import class_condition, step_head
from exnihilo.models.autoregressive.sequences import Sequences
from exnihilo.models.autoregressive.tokens import TokenSequences
from exnihilo.models.autoregressive.waves import Waves
from exnihilo.nets.dilated import WaveNet, dilations
from exnihilo.nets.lagged import Lagged
from exnihilo.nets.sequence import Numbers, Recurrent, Tokens
from exnihilo.nets.transformer import Transformer
from exnihilo.probability.likelihoods import Categorical, CategoricalIds

RATE = 0.384  # over the width: 1e-3 for 384 and 5e-4 for 768 channels are usual
HELD = 2**26  # numbers that the keys and values of samples drawn at once may take


@recipe(
    "Language Models are Unsupervised Multitask Learners",
    "Radford et al., 2019",
    kinds=("text", "image"),
    unfit={"audio": "a second of sound is thousands of tokens, which attention compares in pairs"},
)
def gpt(
    data: DataSpec,
    *,
    width: Annotated[int, 2, 8192] = 96,
    depth: Annotated[int, 1, 128] = 4,
    dropout: Annotated[float, 0.0, 0.9] = 0.0,
    conditional: bool = False,
) -> TokenSequences:
    """A transformer whose every token attends to those before it: text, or pictures as levels in raster order (iGPT).

    GPT-2's blocks: normalised first, GELU, logits that share the tokens' vectors; unlike GPT-2's, positions are rotary
    (arXiv:2104.09864), with which little text teaches more, and a head of attention has 32 channels. The width suits
    minutes on a processor; hours want more. It is trained on windows, and a sample is one: `sample(text=...)`, in the
    shell `exnihilo sample RUN --text "..."`, goes on from a prompt. Unlike Image GPT (Chen et al., 2020), which reduces
    colours to 512, each colour of a pixel is a token of all levels. Caution: time grows with the square of the window;
    a picture of 28 x 28 is 784 tokens.
    """
    if not data.levels:
        raise ModelError("gpt gives probabilities to levels, and these pictures have none.")
    if width % 2:
        raise OptionError(f"gpt: width={width} is not allowed: numbers are turned in pairs. Take {width + 1}.")
    text, rate = data.kind == "text", min(3e-3, RATE / width)
    network = Transformer(
        data.shape, data.levels, low=data.low, step=data.step, width=width, depth=depth, dropout=dropout
    )
    model = TokenSequences(
        network,
        CategoricalIds(data.levels) if text else Categorical(data.levels, data.low),
        condition=class_condition("gpt", data, conditional, width),
        optimizer=adamw(rate, betas=(0.9, 0.99), decay=1e-2, clip=float(data.size), schedule=cosine(hold=0.03)),
        batch=_batch(768, data),
    )
    model.chunk = max(1, min(model.chunk, HELD // (2 * depth * width * data.size)))
    return model


@recipe(
    "WaveNet: A Generative Model for Raw Audio",
    "van den Oord et al., 2016",
    arxiv="1609.03499",
    kinds=("audio", "series"),
)
def wavenet(
    data: DataSpec,
    *,
    width: Annotated[int, 2, 1024] = 32,
    depth: Annotated[int, 1, 16] = 9,
    blocks: Annotated[int, 1, 16] = 2,
    components: Annotated[int, 2, 100] = 10,
    conditional: bool = False,
) -> Waves:
    """Gated convolutions whose dilation doubles from layer to layer, so that a step sees a thousand before it.

    p(x_t | x_{t - R}, ..., x_{t - 1}) with R = 1 + blocks (2^depth - 1): by default 1023 steps, an eighth of a second
    of 8 kHz. `blocks` stacks of `depth` layers; dilations of a window or more would see nothing and are not built.
    Levels (`-d levels=256`: mu-law, as in the paper) have a free probability each; waveforms and other numbers a
    mixture of `components` Gaussians. Caution: what is further back is forgotten, so a word that is longer than R loses
    its way: for whole words take a depth that covers them, or a lower rate (`-d rate=4000`).
    """
    sizes = dilations(blocks, depth, data.shape[1])
    likelihood = step_head(data, "mixture", components)
    network = WaveNet(
        data.shape,
        step_input(data, width),
        likelihood.per_entry,
        width=width,
        skip=2 * width,
        dilations=sizes,
        vector=width if conditional else 0,
    )
    return Waves(
        network,
        likelihood,
        condition=class_condition("wavenet", data, conditional, width),
        optimizer=adamw(4e-3, betas=(0.9, 0.99), decay=1e-2, clip=float(data.size), schedule=cosine(hold=0.5)),
        batch=_batch(8192, data),
    )


@recipe(
    "DeepAR: Probabilistic Forecasting with Autoregressive Recurrent Networks",
    "Salinas et al., 2017",
    arxiv="1704.04110",
    kinds=("series",),
)
def deep_ar(
    data: DataSpec,
    *,
    head: Literal["gaussian", "student", "mixture"] = "gaussian",
    cell: Literal["lstm", "gru"] = "lstm",
    width: Annotated[int, 1, 4096] = 40,
    depth: Annotated[int, 1, 8] = 2,
    components: Annotated[int, 2, 100] = 5,
    dropout: Annotated[float, 0.0, 0.9] = 0.0,
    season: Annotated[int, 1, 100_000] | None = None,
    conditional: bool = False,
) -> Sequences:
    """A recurrent network reads a series and says how the next step is distributed: a forecaster by paths.

    p(x_t | h_t), h_t = LSTM(h_{t-1}, z_t), Eq. 1; head: Gaussian, Student's t or a mixture of `components` Gaussians.
    z_t is what stood a `season` before, and a step before that, two seasons, one and two steps; the location is told as
    a difference to the first. season: its steps, 1 for none; if not given, the period of the training data. Channels of
    a step come one after the other, each knowing those before it, so they need not be independent. Missing values enter
    as missing and are not learnt. Unlike the paper's: series are standardised by channel and told as differences, not
    scaled by the mean of each window, which would have to be known before its first value; lags stand for its
    covariates of the calendar. Values of levels have a probability each: no head, no lags.
    """
    likelihood = step_head(data, head, components)
    condition = class_condition("deep_ar", data, conditional, width)
    optimizer = adamw(4e-3, betas=(0.9, 0.99), decay=1e-3, clip=float(data.size), schedule=cosine())
    vector = width if conditional else 0
    if data.levels:
        plain = Recurrent(
            data.shape, step_input(data, width), likelihood.per_entry,
            cell=cell, width=width, depth=depth, vector=vector, dropout=dropout,
        )  # fmt: skip
        return Sequences(plain, likelihood, condition=condition, optimizer=optimizer, batch=32)
    network = Lagged(
        data.shape, likelihood.per_entry, likelihood.locations,
        cell=cell, width=width, depth=depth, vector=vector, dropout=dropout,
    )  # fmt: skip
    return Forecaster(network, likelihood, season=season, condition=condition, optimizer=optimizer, batch=32)


def _batch(entries: int, data: DataSpec) -> int:
    """Examples of about so many entries in all: as many as a processor's cache likes, and many steps in little time."""
    return max(2, min(64, entries // data.size))


def step_input(data: DataSpec, width: int) -> Tokens | Numbers:
    """What makes vectors of a step's channels: of levels or of numbers."""
    if data.levels:
        return Tokens(data.levels, width, low=data.low, step=data.step, channels=data.shape[0])
    return Numbers(data.shape[0], width)
