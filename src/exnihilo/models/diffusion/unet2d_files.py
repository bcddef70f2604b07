"""What the files of a diffusers pipeline say, in the options of `unet2d`, and the other way; nothing is read here.

Of `UNet2DModel`, and of the schedulers that know a table of betas (diffusers 0.42).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from exnihilo.core import ModelError, listing
from exnihilo.models.diffusion.discrete import DenoisingDiffusion
from exnihilo.models.diffusion.predictions import predict_data, predict_noise, predict_v
from exnihilo.models.diffusion.standard import StandardNetwork
from exnihilo.nets.unet2d import Layout
from exnihilo.probability.schedules import cosine_betas

#: Every key of a UNet2DModel's configuration, with its default.
UNET: dict[str, Any] = {
    "sample_size": None, "in_channels": 3, "out_channels": 3, "center_input_sample": False,
    "time_embedding_type": "positional", "time_embedding_dim": None, "freq_shift": 0, "flip_sin_to_cos": True,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
    "mid_block_type": "UNetMidBlock2D",
    "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (224, 448, 672, 896), "layers_per_block": 2, "mid_block_scale_factor": 1,
    "downsample_padding": 1, "downsample_type": "conv", "upsample_type": "conv", "dropout": 0.0, "act_fn": "silu",
    "attention_head_dim": 8, "norm_num_groups": 32, "attn_norm_num_groups": None, "norm_eps": 1e-5,
    "resnet_time_scale_shift": "default", "add_attention": True, "class_embed_type": None, "num_class_embeds": None,
    "num_train_timesteps": None,
}  # fmt: skip
#: Of those the ones for which there is one value here, and what that is.
FIXED: dict[str, tuple[Any, ...]] = {
    "center_input_sample": (False,), "time_embedding_type": ("positional",), "mid_block_type": ("UNetMidBlock2D",),
    "mid_block_scale_factor": (1, 1.0), "act_fn": ("silu", "swish"), "class_embed_type": (None,),
    "downsample_padding": (0, 1), "downsample_type": ("conv", "resnet"),
    "resnet_time_scale_shift": ("default", "scale_shift"),
}  # fmt: skip
#: Schedulers by the solver of the same name or nearest to it. All noise by alpha^2 = the product of 1 - beta.
SCHEDULERS = {
    "DDPMScheduler": "ancestral", "DDIMScheduler": "ddim", "PNDMScheduler": "plms", "UniPCMultistepScheduler": "unipc",
    "DPMSolverMultistepScheduler": "dpmpp_2m", "DPMSolverSinglestepScheduler": "dpmpp_2m",
    "DEISMultistepScheduler": "dpmpp_2m",
}  # fmt: skip
#: Our schedules and predictions by their names there.
SCHEDULES = {"linear": "linear", "scaled_linear": "scaled_linear", "squaredcos_cap_v2": "cosine"}
PREDICTIONS = {"epsilon": "noise", "sample": "data", "v_prediction": "v"}
PREDICTION_TYPES = {"noise": predict_noise, "data": predict_data, "v": predict_v}


def refusal(what: str, key: str, value: Any, allowed: str) -> ModelError:
    """That a key of a file has a value which no recipe here stands for."""
    return ModelError(f"The {what} has {key}={value}, which unet2d cannot express; it takes {allowed}.")


# -- reading -----------------------------------------------------------------------------------------------------


def network_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `unet2d` that make the network of a UNet2DModel's config.json; a ModelError names what cannot be.

    The picture's shape and the classes are not among them, they are the data's.
    """
    if config.get("_class_name", "UNet2DModel") != "UNet2DModel":
        raise ModelError(f"The network is a {config['_class_name']}; only a UNet2DModel can be read.")
    given = {key: value for key, value in config.items() if not key.startswith("_")}
    if unknown := sorted(set(given) - set(UNET)):
        raise ModelError(f"The UNet2DModel has {unknown[0]}, which is not known here. Known are: {listing(UNET)}.")
    values = UNET | given
    for key, allowed in FIXED.items():
        if values[key] not in allowed:
            raise refusal("UNet2DModel", key, values[key], " or ".join(map(str, allowed)))
    widths, attends = tuple(values["block_out_channels"]), _attends(values)
    if values["time_embedding_dim"] not in (None, 4 * widths[0]):
        raise refusal("UNet2DModel", "time_embedding_dim", values["time_embedding_dim"], str(4 * widths[0]))
    scaled, groups = values["resnet_time_scale_shift"] == "scale_shift", values["norm_num_groups"]
    middle_groups = values["attn_norm_num_groups"] or (0 if scaled else groups)
    if middle_groups not in (0, groups):
        raise refusal("UNet2DModel", "attn_norm_num_groups", middle_groups, str(groups))
    return {
        "maps": "-".join(f"{width}{'a' if seen else ''}" for width, seen in zip(widths, attends, strict=True)),
        "depth": values["layers_per_block"],
        "head": values["attention_head_dim"] or 0,
        "norm_groups": groups,
        "epsilon": values["norm_eps"],
        "modulation": "scale_shift" if scaled else "shift",
        "resampling": _resampling(values),
        "corner": values["downsample_padding"] == 0,
        "middle": values["add_attention"],
        "middle_norm": middle_groups > 0,
        "sines_first": not values["flip_sin_to_cos"],
        "stretch": float(values["freq_shift"]),
        "dropout": values["dropout"],
    }


def _attends(values: Mapping[str, Any]) -> list[bool]:
    """Of every level, whether it attends to itself, on the way down and on the way back."""
    down, up = list(values["down_block_types"]), list(values["up_block_types"])
    kinds = {"DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D"}
    kinds |= {"UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"}
    if strange := [kind for kind in (*down, *up) if kind not in kinds]:
        raise ModelError(f"The UNet2DModel has blocks {strange[0]}; only these can be read: {listing(sorted(kinds))}.")
    attends = [kind.startswith("Attn") for kind in down]
    if [kind.startswith("Attn") for kind in reversed(up)] != attends:
        raise refusal("UNet2DModel", "up_block_types", listing(up), "attention at the levels where the way down has it")
    return attends


def _resampling(values: Mapping[str, Any]) -> str:
    """How sides change between levels, if all levels do it in one way. The last level on each way changes none."""
    ways = set()
    for way in ("down", "up"):
        attending = "residual" if values[f"{way}sample_type"] == "resnet" else "convolution"
        for kind in list(values[f"{way}_block_types"])[:-1]:
            ways.add(attending if kind.startswith("Attn") else "residual" if "Resnet" in kind else "convolution")
    if len(ways) > 1:
        raise ModelError("The UNet2DModel resamples by convolutions and by residual blocks; unet2d does one of both.")
    return ways.pop() if ways else "convolution"


def schedule_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `unet2d` for a scheduler's scheduler_config.json; a ModelError names what cannot be expressed."""
    name = str(config.get("_class_name"))
    if name not in SCHEDULERS:
        raise ModelError(f"The scheduler is a {name}; these can be read: {listing(SCHEDULERS)}.")
    betas, kind = config.get("beta_schedule", "linear"), config.get("prediction_type", "epsilon")
    if config.get("trained_betas") is not None:
        raise ModelError("The scheduler has trained_betas of its own, which no schedule here is equal to.")
    if betas not in SCHEDULES:
        raise refusal("scheduler", "beta_schedule", betas, listing(SCHEDULES))
    if kind not in PREDICTIONS:
        raise refusal("scheduler", "prediction_type", kind, listing(PREDICTIONS))
    for key in ("rescale_betas_zero_snr", "use_flow_sigmas"):
        if config.get(key):
            raise refusal("scheduler", key, True, "false")
    if config.get("clip_sample") and config.get("clip_sample_range", 1.0) != 1:
        raise refusal("scheduler", "clip_sample_range", config["clip_sample_range"], "1")
    return {
        "prediction": PREDICTIONS[kind],
        "schedule": SCHEDULES[betas],
        "levels": config.get("num_train_timesteps", 1000),
        "first": config.get("beta_start", 0.0001),
        "last": config.get("beta_end", 0.02),
    }


def sampling_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """The sampling options here that are nearest to what a scheduler does by itself."""
    solver, variance = SCHEDULERS[config["_class_name"]], str(config.get("variance_type"))
    if solver == "ancestral" and "large" in variance:
        solver = "ancestral_large"
    if solver == "ancestral" and variance == "learned_range":
        solver = "ancestral_learned"
    clips = config.get("clip_sample", config["_class_name"] in ("DDPMScheduler", "DDIMScheduler"))
    threshold = "dynamic" if config.get("thresholding") else "static" if clips else "none"
    return {"solver": solver, "threshold": threshold}


def current_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights under the names of now: those of attention were others in the first versions of diffusers."""
    renamed = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}

    def name(old: str) -> str:
        return re.sub(r"(attentions\.\d+\.)(\w+)", lambda found: found[1] + renamed.get(found[2], found[2]), old)

    return {name(old): weight for old, weight in weights.items()}


# -- writing -----------------------------------------------------------------------------------------------------


def network_config(network: StandardNetwork, shape: tuple[int, ...], outputs: int) -> dict[str, Any]:
    """The config.json of a UNet2DModel of the same weights, for pictures of this shape."""
    layout = network.body.layout
    factor = 2 ** (len(layout.widths) - 1)
    if wrong := [side for side in shape[1:] if side % factor]:
        raise ModelError(
            f"A UNet2DModel of {len(layout.widths)} levels takes sides that {factor} divides, and these pictures have"
            f" {wrong[0]}. Train on pictures of another size, as with -d size={factor * -(-wrong[0] // factor)}."
        )
    classes = network.body.class_embedding
    kinds = _block_types(layout)
    return {
        "_class_name": "UNet2DModel",
        "sample_size": shape[1] if shape[1] == shape[2] else list(shape[1:]),
        "in_channels": shape[0],
        "out_channels": outputs,
        "flip_sin_to_cos": not layout.sines_first,
        "freq_shift": int(layout.stretch) if layout.stretch == int(layout.stretch) else layout.stretch,
        "down_block_types": [down for down, _ in kinds],
        "up_block_types": [up for _, up in reversed(kinds)],
        "block_out_channels": list(layout.widths),
        "layers_per_block": layout.depth,
        "downsample_padding": 0 if layout.corner else 1,
        "downsample_type": "resnet" if layout.resampling == "residual" else "conv",
        "upsample_type": "resnet" if layout.resampling == "residual" else "conv",
        "dropout": layout.dropout,
        "attention_head_dim": layout.head or None,
        "norm_num_groups": layout.groups,
        "attn_norm_num_groups": layout.groups if layout.middle_norm else None,
        "norm_eps": layout.epsilon,
        "resnet_time_scale_shift": "scale_shift" if layout.modulation == "scale_shift" else "default",
        "add_attention": layout.middle,
        "num_class_embeds": None if classes is None else classes.num_embeddings,
    }


def _block_types(layout: Layout) -> list[tuple[str, str]]:
    """Of every level, its block on the way down and on the way back."""
    plain = ("DownBlock2D", "UpBlock2D")
    if layout.resampling == "residual":
        plain = ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D")
    return [("AttnDownBlock2D", "AttnUpBlock2D") if attends else plain for attends in layout.attends]


def scheduler_config(model: DenoisingDiffusion, learned: bool) -> dict[str, Any]:
    """The scheduler_config.json of a DDPMScheduler with the model's levels of noise, which DDIM's and others take too.

    Its steps are spaced as ours are (`trailing`: from the noisiest level down to the data).
    """
    kind = next((name for name, there in PREDICTION_TYPES.items() if there is model.prediction), None)
    if kind is None:
        raise ModelError(f"{model.recipe} predicts what no scheduler of diffusers reads: {listing(PREDICTION_TYPES)}.")
    return {
        "_class_name": "DDPMScheduler",
        "num_train_timesteps": model.path.steps,
        **named_betas(1 - model.path.signal[1:] / model.path.signal[:-1]),
        "prediction_type": next(there for there, here in PREDICTIONS.items() if here == kind),
        "variance_type": "learned_range" if learned else "fixed_small",
        "clip_sample": True,
        "clip_sample_range": 1.0,
        "timestep_spacing": "trailing",
    }


def named_betas(betas: Tensor) -> dict[str, Any]:
    """How a scheduler's configuration states betas [T], float64: by the name of their schedule, or one by one."""
    steps, betas = len(betas), betas.detach().cpu()
    first, last = round(betas[0].item(), 12), round(betas[-1].item(), 12)

    def like(other: Tensor) -> bool:
        return torch.allclose(betas, other, rtol=1e-9, atol=1e-12)

    if like(cosine_betas(steps)):
        return {"beta_schedule": "squaredcos_cap_v2"}
    for name in ("linear", "scaled_linear"):
        if like(betas_of(name, steps, first, last)):
            return {"beta_schedule": name, "beta_start": first, "beta_end": last}
    return {"trained_betas": betas.tolist()}


def betas_of(schedule: str, levels: int, first: float, last: float) -> Tensor:
    """[levels] in float64: in equal steps from first to last, in equal steps of their roots, or those of the cosine."""
    if schedule == "cosine":
        return cosine_betas(levels)
    if schedule == "linear":
        return torch.linspace(first, last, levels, dtype=torch.float64)
    return torch.linspace(first**0.5, last**0.5, levels, dtype=torch.float64).square()
