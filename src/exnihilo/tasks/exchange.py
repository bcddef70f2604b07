"""Models that go to other libraries and come from there: pipelines of diffusers, which need not be installed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from exnihilo.core import DataSpec, GenerativeModel, ModelError, OptionError, RunError, create, listing
from exnihilo.models.diffusion import DenoisingDiffusion
from exnihilo.models.diffusion.learned_variance import LearnedVariance
from exnihilo.models.diffusion.standard import StandardNetwork
from exnihilo.models.diffusion.unet2d_files import (
    current_names,
    network_config,
    network_options,
    refusal,
    sampling_options,
    schedule_options,
    scheduler_config,
)
from exnihilo.training import save_model
from exnihilo.training.folder import write_atomic
from exnihilo.training.state import load_tensors, shared_tensors

#: The version whose files these are.
DIFFUSERS = "0.42.1"
WEIGHTS = "diffusion_pytorch_model.safetensors"
#: Beside the files of diffusers, which does not look at it: what they cannot say of the data and classes.
OURS, FORMAT = "exnihilo.json", 1
#: The class of samples that are to be of any.
ANY = "any"


# -- to diffusers ------------------------------------------------------------------------------------------------


def export_diffusers(model: GenerativeModel, folder: str | Path, *, label: str | int | None = None) -> list[Path]:
    """Write the U-Net of a denoiser and its levels of noise as a pipeline folder; `DDPMPipeline.from_pretrained` reads.

    label: the class that the pipeline is to draw, or `any`; its embedding is then added to the time's, and no class
    need be given there. Without it a labelled model keeps its classes, the last of them standing for none. Returns the
    files. A ModelError says what of ours a UNet2DModel can be.
    """
    folder = Path(folder)
    if folder.exists() and (folder.is_file() or any(folder.iterdir())):
        raise RunError(f"{folder} holds other things. Name a new folder: --out FOLDER.")
    denoiser, network = _exportable(model)
    weights = {name: weight.detach().cpu().clone() for name, weight in network.body.state_dict().items()}
    spec = model.spec
    learned = isinstance(denoiser, LearnedVariance)
    config = network_config(network, spec.shape, spec.shape[0] * (1 + learned))
    if label is not None:
        row = _row(model, network, label)
        weights["time_embedding.linear_2.bias"] += weights.pop("class_embedding.weight")[row]
        config["num_class_embeds"] = None
    known = spec.to_json() if label is None else _without_classes(spec).to_json()
    ours = {
        "format": FORMAT,
        "recipe": model.recipe,
        "options": model.options,
        "spec": known,
        "unknown": network.unknown,
    }
    version = {"_diffusers_version": DIFFUSERS}
    parts = {"scheduler": ["diffusers", "DDPMScheduler"], "unet": ["diffusers", "UNet2DModel"]}
    index = {"_class_name": "DDPMPipeline"} | version | parts
    return _write(
        folder,
        {
            f"unet/{WEIGHTS}": _packed(weights),
            "unet/config.json": _json(config | version),
            "scheduler/scheduler_config.json": _json(scheduler_config(denoiser, learned) | version),
            OURS: _json(ours),
            "README.md": _card(model, label is None).encode(),
            "model_index.json": _json(index),  # last: without it the folder is no pipeline
        },
    )


def _exportable(model: GenerativeModel) -> tuple[DenoisingDiffusion, StandardNetwork]:
    network = getattr(model, "network", None)
    if not isinstance(model, DenoisingDiffusion) or not isinstance(network, StandardNetwork):
        raise ModelError(
            f"The network of {model.recipe} on {model.spec.kind} data cannot be expressed as diffusers' UNet2DModel."
            " Train unet2d (ddpm with that network) or adm on pictures instead: exnihilo train unet2d SOURCE."
        )
    if network.facts is not None:
        raise ModelError(
            "A UNet2DModel takes a class, but no attributes, and this model was trained with"
            f" {listing(attribute.name for attribute in model.spec.attributes)}. Train on data without them."
        )
    return model, network


def _row(model: GenerativeModel, network: StandardNetwork, label: str | int) -> int:
    """The row of the class embedding that a label, or `any`, stands for."""
    if not network.classes:
        raise OptionError(f"--label {label} is for models of labelled data; {model.recipe} was trained without labels.")
    if label == ANY and ANY not in model.spec.class_names:
        if not network.unknown:
            raise OptionError("This model was trained with classes only, so it cannot draw any of them: name a class.")
        return network.classes
    return model.spec.class_index(label)


def _without_classes(spec: DataSpec) -> DataSpec:
    plain = spec.to_json()
    return DataSpec.from_json({name: value for name, value in plain.items() if not name.startswith("class")})


def _write(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / name, content)
    return [folder / name for name in files]


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1) + "\n").encode()


def _packed(weights: dict[str, Tensor]) -> bytes:
    from safetensors.torch import save

    return save(dict(sorted(weights.items())), metadata={"format": "pt"})


def _card(model: GenerativeModel, classes: bool) -> str:
    """README.md of a pipeline: how it is used there."""
    names = model.spec.class_names if classes and model.labelled else ()
    told = f", class_labels=torch.full((len(x),), {0})" if names else ""
    rows = f"\nClasses: {listing(f'{row} {name}' for row, name in enumerate(names))}; the last is none of them.\n"
    return f"""---
library_name: diffusers
tags: [generative-model, exnihilo, {model.recipe}]
---

# {model.recipe}, for diffusers

```python
import torch
from diffusers import DDPMPipeline
pipe = DDPMPipeline.from_pretrained("PATH/TO/THIS/FOLDER")
x = torch.randn(4, *{model.spec.shape})
pipe.scheduler.set_timesteps(50)
for t in pipe.scheduler.timesteps:
    x = pipe.scheduler.step(pipe.unet(x, t{told}).sample, t, x).prev_sample
```
{rows if names else ""}"""


# -- from diffusers ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Imported:
    """A model read from another library's files, and the sampling options nearest to what was done there."""

    model: GenerativeModel
    sampling: dict[str, Any]


def import_diffusers(
    folder: str | Path, out: str | Path | None = None, *, size: int | None = None, unknown: bool = False
) -> Imported:
    """Read a pipeline of a UNet2DModel and a scheduler as a `unet2d` of the same weights; `out`: and keep it as a run.

    size: of the pictures, where the files do not say it. unknown: whether the last class embedding stands for no class,
    as guidance needs; what was exported here says so itself. Weights are read from safetensors only. A ModelError names
    what cannot be expressed, a RunError what is missing.
    """
    folder = Path(folder)
    index = _read(folder / "model_index.json", f"{folder} is not a pipeline of diffusers")
    parts = {name for name, part in index.items() if isinstance(part, list) and part[-1] is not None}
    if more := sorted(parts - {"unet", "scheduler"}):
        raise ModelError(f"{folder} has a {more[0]} too; only pipelines of a unet and a scheduler alone can be read.")
    config = _read(_place(folder, "unet") / "config.json", "The network cannot be read")
    schedule = _read(_place(folder, "scheduler") / "scheduler_config.json", "The scheduler cannot be read")
    options = network_options(config) | schedule_options(schedule)
    spec, unknown = _spec(folder, config, size, unknown)
    learned = _learned(config, schedule, spec)
    model = create("unet2d", spec, **options, unknown=unknown, learned=learned)
    body = model.network.body  # type: ignore[union-attr]
    weights, file = _weights(_place(folder, "unet"))
    load_tensors(body, current_names(weights), shared_tensors(body), str(file))  # type: ignore[arg-type]
    imported = Imported(model, sampling_options(schedule | ({"variance_type": "learned_range"} if learned else {})))
    if out is not None:
        save_model(model, out, source=f"the diffusers pipeline {folder.name}", card=_run_card(folder, imported))
    return imported


def _place(folder: Path, part: str) -> Path:
    """The folder of a part; the first pipelines had all parts in one."""
    return folder / part if (folder / part).is_dir() else folder


def _read(file: Path, otherwise: str) -> dict[str, Any]:
    if not file.is_file():
        raise RunError(f"{otherwise}: there is no {file}.")
    try:
        content: dict[str, Any] = json.loads(file.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise RunError(f"{file} is damaged: {error}.") from error
    return content


def _spec(folder: Path, config: Mapping[str, Any], size: int | None, unknown: bool) -> tuple[DataSpec, bool]:
    """The data as this program's own export describes them, else pictures of 256 levels and classes by number."""
    if (folder / OURS).is_file():
        ours = _read(folder / OURS, "")
        if ours.get("format") != FORMAT:
            raise RunError(f"{folder / OURS} has format {ours.get('format')!r}; this version reads format {FORMAT}.")
        return DataSpec.from_json(ours["spec"]), ours["unknown"]
    sides = config.get("sample_size") or size
    if sides is None:
        raise OptionError("The files do not say how large its pictures are: give the side, --size 32.")
    height, breadth = (sides, sides) if isinstance(sides, int) else sides
    classes = (config.get("num_class_embeds") or 0) - unknown
    if classes < 0:
        raise OptionError("--unknown is for networks with classes; this one has none.")
    names = tuple(str(number) for number in range(classes))
    shape = (config.get("in_channels", 3), height, breadth)
    return DataSpec("image", shape, levels=256, classes=classes, class_names=names), unknown


def _learned(config: Mapping[str, Any], schedule: Mapping[str, Any], spec: DataSpec) -> bool:
    """Whether the network makes a variance for every channel too."""
    channels, variance = config.get("out_channels", 3), str(schedule.get("variance_type"))
    if channels not in (spec.shape[0], 2 * spec.shape[0]):
        raise refusal("UNet2DModel", "out_channels", channels, f"{spec.shape[0]} or {2 * spec.shape[0]}")
    learned = channels == 2 * spec.shape[0]
    if variance == "learned" or (variance == "learned_range" and not learned):
        raise refusal("scheduler", "variance_type", variance, "a fixed one, or learned_range of twice the channels")
    return learned


def _weights(folder: Path) -> tuple[dict[str, Tensor], Path]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = folder / WEIGHTS
    if not file.is_file():
        pickled = (folder / "diffusion_pytorch_model.bin").is_file()
        why = " Its .bin is a pickle, which can run any code, so it is not read." if pickled else ""
        raise RunError(
            f"There is no {file}.{why} In diffusers, pipe.save_pretrained(FOLDER, safe_serialization=True) writes it."
        )
    try:
        return {name: weight.to(torch.float32) for name, weight in load_file(file).items()}, file
    except SafetensorError as error:
        raise RunError(f"{file} is truncated or altered: {error}.") from error


def _run_card(folder: Path, imported: Imported) -> str:
    options = "\n".join(f"| {name} | {value} |" for name, value in imported.model.options.items())
    sampling = " ".join(f"-o {name}={value}" for name, value in imported.sampling.items())
    return f"""---
library_name: exnihilo
tags: [generative-model, diffusion, unet2d]
---

# unet2d, read from the diffusers pipeline {folder.name}

Not trained here: the weights are those of its UNet2DModel. What its scheduler did by itself is nearest to
`exnihilo sample RUN -n 16 {sampling} --out samples.png`.

| option | value |
|---|---|
{options}
"""
