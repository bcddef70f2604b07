"""What no recipe may do: keep state where no checkpoint sees it, or compute anywhere but where its tensors are."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.contracts.test_every_recipe import every_case, learned, sampling, shared, small, trained

#: Recipes whose loss waits for the device in every step, and where; strict, so that whoever mends one strikes it out.
WAITING: dict[str, str] = {
    "ot_cfm": "the pairing of a batch is solved on the host",
}


def attributes(model: nn.Module) -> dict[str, Any]:
    """Every plain value and every tensor that is an attribute of a module, and neither parameter nor buffer."""
    found: dict[str, Any] = {}
    for place, module in model.named_modules():
        for name, value in vars(module).items():
            if name.startswith("_") or (name in ("training", "progress") and not isinstance(value, Tensor)):
                continue
            if isinstance(value, Tensor):
                found[f"{place}.{name}"] = value.tolist()
            elif isinstance(value, bool | int | float | str | tuple | list | dict | set | frozenset | type(None)):
                found[f"{place}.{name}"] = repr(value)
    return found


@every_case
def test_training_changes_parameters_and_buffers_only(name, kind):
    model = small(name, kind)
    before, shapes = attributes(model), {key: weight.shape for key, weight in model.named_parameters()}
    trained(model, kind)
    assert attributes(model) == before
    assert {key: weight.shape for key, weight in model.named_parameters()} == shapes, "parameters came or went"


def test_an_attribute_that_training_changes_is_seen():
    model = small("gmm", "vector")
    before = attributes(model)
    model.mixture.fitted = True
    assert attributes(model) != before


@every_case
def test_samples_do_not_know_the_progress(name, kind):
    model = learned(name, kind)
    if "sample" not in model.capabilities:
        pytest.skip("it cannot sample")
    drawn = []
    for model.progress in (0.0, 1.0):
        drawn.append(model.sample(3, seed=2, **sampling(model)))
    assert torch.equal(*drawn)


@every_case
def test_losses_stay_on_the_device_and_never_wait_for_it(name, kind, monkeypatch, request):
    """The `meta` device has shapes but no values: a tensor made elsewhere, or a value read, is an error.

    Both are what breaks or slows a training on an accelerator, found without one.
    """
    if name in WAITING:
        request.applymarker(pytest.mark.xfail(reason=WAITING[name], raises=NotImplementedError, strict=True))
    monkeypatch.setattr(torch, "autocast", lambda *args, **options: contextlib.nullcontext())  # knows no meta device
    model, data = learned(name, kind).to("meta").train(), shared(name, kind).data
    batch = data.split("train").batch(0, model.batch, 0).to("meta")
    for stage in model.stages():
        if stage.view is None:  # a view has batches of its own
            for player in stage.players():
                assert all(term.is_meta for term in player.loss(batch).values())
