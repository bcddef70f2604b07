"""Pipelines of diffusers: what we write is what it computes, and what it writes is what we draw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from exnihilo.core import Attribute, DataSpec, GenerativeModel, ModelError, Noise, OptionError, RunError, create, seeded
from exnihilo.models.diffusion import DenoisingDiffusion
from exnihilo.models.diffusion.learned_variance import LearnedVariance
from exnihilo.models.diffusion.unet2d_files import betas_of, current_names, named_betas, network_options
from exnihilo.probability.schedules import cosine_betas, linear_betas, sigmoid_betas
from exnihilo.probability.solvers import DDIM, Ancestral, solve
from exnihilo.probability.variances import learned
from exnihilo.tasks import export_diffusers, import_diffusers
from exnihilo.training import RunFolder, load_model

GREY = DataSpec("image", (1, 8, 8), levels=17, examples=100)
NAMES = ("cat", "dog", "owl")
COLOUR = DataSpec("image", (3, 8, 4), levels=256, classes=3, class_names=NAMES, class_shares=(0.5, 0.3, 0.2))
SMALL: dict[str, Any] = dict(maps="8-16a", depth=1, norm_groups=4)


def rough(model: GenerativeModel) -> DenoisingDiffusion:
    """Weights at random, for the untrained answer is zero."""
    assert isinstance(model, DenoisingDiffusion)
    with seeded("rough"):
        for name, weight in model.named_parameters():
            if weight.ndim > 1 or "norm" not in name:
                nn.init.normal_(weight, std=0.15)
    return model.eval()


def small(spec: DataSpec = GREY, **options: Any) -> DenoisingDiffusion:
    return rough(create("unet2d", spec, **{**SMALL, **options}))


def start(spec: DataSpec, n: int = 3) -> Tensor:
    return Noise(0, n).normal(*spec.shape)


def reload(folder: Path) -> Any:
    diffusers = pytest.importorskip("diffusers")
    pipe = diffusers.DDPMPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def ddim_of_diffusers(pipe: Any, x: Tensor, steps: int, label: Tensor | None = None) -> Tensor:
    """The loop of its DDIMPipeline from this x, with the noise that goes with clipped data, as ours has it."""
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    scheduler.set_timesteps(steps)
    told = {} if label is None else {"class_labels": label}
    with torch.no_grad():
        for t in scheduler.timesteps:
            answer = pipe.unet(x, t, **told).sample
            x = scheduler.step(answer, t, x, eta=0.0, use_clipped_model_output=True).prev_sample
    return x


def ddim_of_ours(model: DenoisingDiffusion, x: Tensor, steps: int, label: Tensor | None = None) -> Tensor:
    from exnihilo.core import Conditions

    denoise = model.denoiser(Conditions(label=label))
    with torch.no_grad():
        return solve(DDIM(), denoise, model.path, x, model.grid(steps, "ddim"), Noise(0, len(x)))


# -- to diffusers ------------------------------------------------------------------------------------------------

KINDS: list[dict[str, Any]] = [
    {},
    {"prediction": "v", "schedule": "cosine", "modulation": "scale_shift", "resampling": "residual", "head": 4},
    {"prediction": "data", "schedule": "scaled_linear", "first": 0.001, "last": 0.01, "corner": True, "middle": False},
    {"levels": 100, "first": 0.001, "last": 0.2, "sines_first": True, "stretch": 1.0, "middle_norm": False,
     "modulation": "scale_shift", "epsilon": 1e-6},
]  # fmt: skip


@pytest.mark.parametrize("options", KINDS, ids=str)
def test_equal_weights_give_equal_samples(options: dict[str, Any], tmp_path: Path) -> None:
    model = small(**options)
    export_diffusers(model, tmp_path / "pipe")
    pipe, x = reload(tmp_path / "pipe"), start(GREY)
    theirs, ours = ddim_of_diffusers(pipe, x, 10), ddim_of_ours(model, x, 10)
    assert ours.std() > 0.1
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_pipeline_draws_without_more_ado(tmp_path: Path) -> None:
    diffusers = pytest.importorskip("diffusers")
    export_diffusers(small(), tmp_path / "pipe")
    reload(tmp_path / "pipe")(batch_size=2, num_inference_steps=4, output_type="np")
    pipe = diffusers.DDIMPipeline.from_pretrained(tmp_path / "pipe")
    pipe.set_progress_bar_config(disable=True)
    assert isinstance(pipe.scheduler, diffusers.DDIMScheduler)
    assert pipe(batch_size=2, num_inference_steps=4, output_type="np").images.shape == (2, 8, 8, 1)


@pytest.mark.parametrize("variance", ["fixed", "learned"])
def test_an_ancestral_step_is_that_of_the_ddpm_scheduler(variance: str, tmp_path: Path) -> None:
    model = small(learned=variance == "learned")
    export_diffusers(model, tmp_path / "pipe")
    pipe, x = reload(tmp_path / "pipe"), start(GREY)
    pipe.scheduler.set_timesteps(1000)

    class Same:
        """The noise that the scheduler draws."""

        def like(self, x: Tensor) -> Tensor:
            return torch.randn(x.shape, generator=torch.Generator().manual_seed(3))

    sampler = Ancestral(learned) if variance == "learned" else Ancestral()
    for index in (1000, 500, 2, 1):
        with torch.no_grad():
            answer = pipe.unet(x, index - 1).sample
            theirs = pipe.scheduler.step(answer, index - 1, x, generator=torch.Generator().manual_seed(3)).prev_sample
            ours = sampler.step(model.denoiser(), model.path, x, index / 1000, (index - 1) / 1000, Same())  # type: ignore[arg-type]
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_classes_go_with_it_and_the_last_is_none_of_them(tmp_path: Path) -> None:
    model = small(COLOUR)
    export_diffusers(model, tmp_path / "pipe")
    pipe, x = reload(tmp_path / "pipe"), start(COLOUR)
    for label in (torch.tensor([2, 0, 1]), torch.full((3,), -1)):
        there = torch.where(label < 0, 3, label)
        torch.testing.assert_close(
            ddim_of_ours(model, x, 5, label), ddim_of_diffusers(pipe, x, 5, there), rtol=1e-4, atol=1e-4
        )
    assert "0 cat, 1 dog, 2 owl" in (tmp_path / "pipe" / "README.md").read_text()


@pytest.mark.parametrize(("name", "label"), [("dog", 1), ("any", -1)])
def test_one_class_becomes_a_pipeline_that_needs_none(name: str, label: int, tmp_path: Path) -> None:
    model = small(COLOUR)
    export_diffusers(model, tmp_path / "pipe", label=name)
    pipe, x = reload(tmp_path / "pipe"), start(COLOUR)
    ours = ddim_of_ours(model, x, 5, torch.full((3,), label))
    torch.testing.assert_close(ours, ddim_of_diffusers(pipe, x, 5), rtol=1e-4, atol=1e-4)
    pipe(batch_size=1, num_inference_steps=2, output_type="np")
    assert import_diffusers(tmp_path / "pipe").model.spec.classes == 0


def test_adm_goes_without_its_classifier(tmp_path: Path) -> None:
    model = rough(create("adm", COLOUR, width=8))
    export_diffusers(model, tmp_path / "pipe")
    pipe, x = reload(tmp_path / "pipe"), start(COLOUR)
    label, t = torch.tensor([0, 1, 2]), torch.full((3,), 0.4)
    with torch.no_grad():
        theirs = pipe.unet(x, torch.full((3,), 399), class_labels=label).sample
        torch.testing.assert_close(model.answer(x, t, label, None), theirs, rtol=1e-5, atol=1e-5)
    assert pipe.scheduler.config.variance_type == "learned_range"
    back = import_diffusers(tmp_path / "pipe").model
    assert isinstance(back, LearnedVariance)
    assert torch.equal(back.denoise(x, t, label=label).noise, model.denoise(x, t, label=label).noise)


def test_what_cannot_go_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"ddpm on image data cannot be expressed as diffusers' UNet2DModel.*unet2d"):
        export_diffusers(create("ddpm", GREY, width=8), tmp_path / "pipe")
    with pytest.raises(ModelError, match="adm on vector data"):
        export_diffusers(create("adm", DataSpec("vector", (2,), examples=9), width=8), tmp_path / "pipe")
    facts = DataSpec("image", (1, 8, 8), levels=17, attributes=(Attribute("smile", "yes/no"),))
    with pytest.raises(ModelError, match=r"no attributes.*smile"):
        export_diffusers(small(facts), tmp_path / "pipe")
    with pytest.raises(ModelError, match=r"takes sides that 2 divides, and these pictures have 9.*size=10"):
        export_diffusers(small(DataSpec("image", (1, 9, 8), levels=17)), tmp_path / "pipe")
    with pytest.raises(OptionError, match="trained without labels"):
        export_diffusers(small(), tmp_path / "pipe", label="dog")
    assert not (tmp_path / "pipe").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="holds other things"):
        export_diffusers(small(), tmp_path / "full")


def test_betas_are_named_if_they_have_a_name() -> None:
    assert named_betas(linear_betas()) == {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02}
    assert named_betas(cosine_betas()) == {"beta_schedule": "squaredcos_cap_v2"}
    assert named_betas(betas_of("scaled_linear", 100, 0.00085, 0.012))["beta_schedule"] == "scaled_linear"
    own = named_betas(sigmoid_betas(50))
    torch.testing.assert_close(torch.tensor(own["trained_betas"], dtype=torch.float64), sigmoid_betas(50))


# -- from diffusers ----------------------------------------------------------------------------------------------


def unet_of_diffusers(**config: Any) -> Any:
    diffusers = pytest.importorskip("diffusers")
    plain = dict(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    torch.manual_seed(0)
    unet = diffusers.UNet2DModel(**{**plain, **config}).eval()
    for name, weight in unet.named_parameters():
        if weight.ndim > 1 or "norm" not in name:
            nn.init.normal_(weight, std=0.15)
    return unet


def saved(folder: Path, unet: Any, scheduler: str = "DDPMScheduler", **config: Any) -> Any:
    import diffusers

    pipe = diffusers.DDPMPipeline(unet, getattr(diffusers, scheduler)(**config))
    pipe.set_progress_bar_config(disable=True)
    pipe.save_pretrained(folder)
    return pipe


@pytest.mark.parametrize(
    ("scheduler", "config", "solver"),
    [
        ("DDPMScheduler", {"timestep_spacing": "trailing"}, "ancestral"),
        ("DDPMScheduler", {"timestep_spacing": "trailing", "variance_type": "fixed_large"}, "ancestral_large"),
        ("DDIMScheduler", {"timestep_spacing": "trailing", "beta_schedule": "scaled_linear"}, "ddim"),
        ("DPMSolverMultistepScheduler", {"beta_schedule": "squaredcos_cap_v2", "prediction_type": "v_prediction",
                                         "timestep_spacing": "trailing"}, "dpmpp_2m"),
        ("DDIMScheduler", {"prediction_type": "sample", "num_train_timesteps": 200, "beta_end": 0.1,
                           "timestep_spacing": "trailing"}, "ddim"),
    ],
)  # fmt: skip
def test_a_pipeline_becomes_a_run_of_equal_samples(
    scheduler: str, config: dict[str, Any], solver: str, tmp_path: Path
) -> None:
    pipe = saved(tmp_path / "pipe", unet_of_diffusers(), scheduler, **config)
    imported = import_diffusers(tmp_path / "pipe", tmp_path / "run")
    assert imported.sampling["solver"] == solver
    model = load_model(tmp_path / "run")
    assert isinstance(model, DenoisingDiffusion)
    record = RunFolder(tmp_path / "run").record()
    assert (record["recipe"], record["status"]) == ("unet2d", "finished")
    assert model.spec.shape == (1, 8, 8)
    x = start(model.spec)
    pipe.scheduler.register_to_config(clip_sample=True)
    theirs = ddim_of_diffusers(pipe, x, 10)
    torch.testing.assert_close(ddim_of_ours(model, x, 10), theirs, rtol=1e-4, atol=1e-4)
    samples = model.sample(2, seed=0, steps=3, **imported.sampling)
    assert samples.isfinite().all()


def test_the_structures_of_published_pipelines_are_read(tmp_path: Path) -> None:
    config = dict(
        block_out_channels=(8, 16, 16), down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "UpBlock2D"), attention_head_dim=None, downsample_padding=0,
        flip_sin_to_cos=False, freq_shift=1, norm_eps=1e-6, sample_size=[8, 16],
    )  # fmt: skip
    pipe = saved(tmp_path / "pipe", unet_of_diffusers(**config))
    model = import_diffusers(tmp_path / "pipe").model
    assert model.options["maps"] == "8-16a-16"
    assert model.spec.shape == (1, 8, 16)
    x, index = torch.randn(2, 1, 8, 16), torch.tensor([0, 999])
    with torch.no_grad():
        theirs = pipe.unet(x, index).sample
        torch.testing.assert_close(model.denoise(x, (index + 1) / 1000).noise, theirs, rtol=1e-5, atol=1e-5)


def test_classes_come_with_it_and_without_one_for_none_it_asks_for_a_class(tmp_path: Path) -> None:
    pipe = saved(tmp_path / "pipe", unet_of_diffusers(num_class_embeds=4))
    plain, guided = import_diffusers(tmp_path / "pipe").model, import_diffusers(tmp_path / "pipe", unknown=True).model
    assert (plain.spec.classes, guided.spec.classes) == (4, 3)
    x, t, label = start(plain.spec, 2), torch.full((2,), 0.5), torch.tensor([3, 1])
    with torch.no_grad():
        theirs = pipe.unet(x, torch.full((2,), 499), class_labels=label).sample
    torch.testing.assert_close(plain.denoise(x, t, label=label).noise, theirs, rtol=1e-5, atol=1e-5)
    unknown = guided.denoise(x, t, label=torch.tensor([-1, 1])).noise
    torch.testing.assert_close(unknown, theirs, rtol=1e-5, atol=1e-5)
    assert plain.sample(2, seed=0, steps=2).isfinite().all()  # of classes drawn at random
    with pytest.raises(OptionError, match="give a label"):
        plain.sample(2, seed=0, steps=2, label="1", guidance=1.0)
    assert guided.sample(2, seed=0, steps=2, label="1", guidance=1.0).isfinite().all()


def test_what_is_exported_comes_back_as_it_was(tmp_path: Path) -> None:
    model = small(COLOUR, learned=True, schedule="cosine", head=4)
    export_diffusers(model, tmp_path / "pipe")
    back = import_diffusers(tmp_path / "pipe").model
    assert back.spec == model.spec
    assert back.options == model.options | {"first": 0.0001, "last": 0.02}
    assert torch.equal(back.sample(2, seed=1, steps=3, label="owl"), model.sample(2, seed=1, steps=3, label="owl"))


def test_the_first_names_of_attention_are_read() -> None:
    old = {f"mid_block.attentions.0.{name}.weight": torch.zeros(1) for name in ("query", "proj_attn", "group_norm")}
    names = [
        name.removeprefix("mid_block.attentions.0.") for name in current_names(old | {"conv_in.bias": torch.zeros(1)})
    ]
    assert names == ["to_q.weight", "to_out.0.weight", "group_norm.weight", "conv_in.bias"]


def test_the_first_pipelines_had_all_files_in_one_folder(tmp_path: Path) -> None:
    model = small()
    export_diffusers(model, tmp_path / "pipe")
    for part in ("unet", "scheduler"):
        for file in (tmp_path / "pipe" / part).iterdir():
            file.rename(tmp_path / "pipe" / file.name)
        (tmp_path / "pipe" / part).rmdir()
    back = import_diffusers(tmp_path / "pipe").model
    assert torch.equal(back.sample(1, seed=0, steps=2), model.sample(1, seed=0, steps=2))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"act_fn": "gelu"}, "act_fn=gelu"),
        ({"time_embedding_type": "fourier"}, "time_embedding_type=fourier"),
        ({"class_embed_type": "timestep"}, "class_embed_type=timestep"),
        ({"encoder_hid_dim": 8}, "encoder_hid_dim, which is not known"),
        ({"down_block_types": ["SkipDownBlock2D", "AttnDownBlock2D"]}, "blocks SkipDownBlock2D"),
        ({"up_block_types": ["UpBlock2D", "UpBlock2D"]}, "up_block_types"),
        ({"mid_block_scale_factor": 1.41}, "mid_block_scale_factor"),
        ({"time_embedding_dim": 100}, "time_embedding_dim=100"),
        ({"_class_name": "UNet2DConditionModel"}, "is a UNet2DConditionModel"),
        ({"upsample_type": "resnet"}, "one of both"),
    ],
)  # fmt: skip
def test_networks_that_cannot_be_expressed_are_refused_by_name(changes: dict[str, Any], message: str) -> None:
    config = {
        "_class_name": "UNet2DModel", "block_out_channels": [8, 16], "norm_num_groups": 4, "upsample_type": "conv",
        "down_block_types": ["DownBlock2D", "AttnDownBlock2D"], "up_block_types": ["AttnUpBlock2D", "UpBlock2D"],
    }  # fmt: skip
    assert network_options(config)["maps"] == "8-16a"
    with pytest.raises(ModelError, match=message):
        network_options(config | changes)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        ("scheduler/scheduler_config.json", {"_class_name": "EulerDiscreteScheduler"}, "is a EulerDiscreteScheduler"),
        ("scheduler/scheduler_config.json", {"trained_betas": [0.1]}, "trained_betas"),
        ("scheduler/scheduler_config.json", {"beta_schedule": "laplace"}, "beta_schedule=laplace"),
        ("scheduler/scheduler_config.json", {"prediction_type": "flow_prediction"}, "prediction_type=flow_prediction"),
        ("scheduler/scheduler_config.json", {"rescale_betas_zero_snr": True}, "rescale_betas_zero_snr"),
        ("scheduler/scheduler_config.json", {"variance_type": "learned_range"}, "variance_type=learned_range"),
        ("unet/config.json", {"out_channels": 5}, "out_channels=5"),
        ("model_index.json", {"vqvae": ["diffusers", "VQModel"]}, "has a vqvae too"),
    ],
)
def test_pipelines_that_cannot_be_expressed_are_refused_by_name(
    file: str, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    export_diffusers(small(), tmp_path / "pipe")
    place = tmp_path / "pipe" / file
    place.write_text(json.dumps(json.loads(place.read_text()) | changes))
    with pytest.raises(ModelError, match=message):
        import_diffusers(tmp_path / "pipe", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_missing_pickled_and_truncated_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a pipeline of diffusers: there is no"):
        import_diffusers(tmp_path)
    export_diffusers(small(), tmp_path / "pipe")
    (tmp_path / "pipe" / "exnihilo.json").unlink()
    weights, config = (
        tmp_path / "pipe" / "unet" / name for name in ("diffusion_pytorch_model.safetensors", "config.json")
    )
    content, said = weights.read_bytes(), json.loads(config.read_text())
    weights.write_bytes(content[:-50])
    with pytest.raises(RunError, match="truncated or altered"):
        import_diffusers(tmp_path / "pipe")
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(RunError, match=r"pickle.*save_pretrained"):
        import_diffusers(tmp_path / "pipe")
    weights.write_bytes(content)
    config.write_text(json.dumps(said | {"layers_per_block": 2}))
    with pytest.raises(RunError, match=r"lacks .* tensors"):
        import_diffusers(tmp_path / "pipe")
    config.write_text(json.dumps(said | {"sample_size": None}))
    with pytest.raises(OptionError, match="--size 32"):
        import_diffusers(tmp_path / "pipe")
    assert import_diffusers(tmp_path / "pipe", size=16).model.spec.shape == (1, 16, 16)
