"""`exnihilo export` and `exnihilo import`: models that go to other libraries and come from there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from exnihilo.cli.output import print_json
from exnihilo.cli.parameters import Json, RunPath


def export(
    run: RunPath,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="A new folder for the pipeline.")],
    to: Annotated[Literal["diffusers"], typer.Option(help="The library.")] = "diffusers",
    label: Annotated[
        str | None,
        typer.Option(help="Only this class, or `any`: the pipeline then draws without being given a class."),
    ] = None,
    json: Json = False,
) -> None:
    """Write a trained denoiser as a pipeline folder of diffusers: its U-Net, weight for weight, and its noise levels.

    Of models whose network is the standard U-Net: unet2d, and adm without its classifier. Other networks have no equal
    there. `DDPMPipeline.from_pretrained(FOLDER)` and `DDIMPipeline` load it; classes are given to its unet.

        exnihilo train unet2d digits --out runs/unet2d

        exnihilo export runs/unet2d --to diffusers --label 7 --out pipelines/sevens
    """
    import exnihilo as xn
    from exnihilo.tasks import export_diffusers

    files = export_diffusers(xn.load(run), out, label=label)
    if json:
        return print_json({"files": [str(file) for file in files]})
    print(f"{run} for {to}: {out}")
    print(f'Next: DDPMPipeline.from_pretrained("{out}"); README.md there says how.')


def import_(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="A pipeline of diffusers, as its save_pretrained leaves it.")
    ],
    out: Annotated[Path, typer.Option(metavar="RUN", help="A new run folder.")],
    size: Annotated[int | None, typer.Option(help="The side of the pictures, where the files do not say it.")] = None,
    unknown: Annotated[
        bool, typer.Option("--unknown", help="The last class embedding stands for no class, as guidance needs it.")
    ] = False,
    json: Json = False,
) -> None:
    """Read a diffusers pipeline of pictures, a UNet2DModel and its scheduler, as a run with the same weights.

    Weights are read from safetensors; nothing in the folder is run, and diffusers need not be installed.

        exnihilo import pipelines/ddpm-celeba --out runs/celeba

        exnihilo sample runs/celeba -n 16 -o solver=ddim -o steps=50 --out faces.png
    """
    from exnihilo.tasks import import_diffusers

    imported = import_diffusers(folder, out, size=size, unknown=unknown)
    options = imported.model.options
    if json:
        return print_json({"run": str(out), "recipe": "unet2d", "options": options, "sampling": imported.sampling})
    shape = " x ".join(map(str, imported.model.spec.shape))
    print(f"{folder}: unet2d, pictures of {shape}, {options['levels']} levels of noise. The run: {out}")
    asked = " ".join(f"-o {name}={value}" for name, value in imported.sampling.items())
    print(f"Next: exnihilo sample {out} -n 16 --out samples.png; as its scheduler did: {asked}")
