"""Likelihoods by an estimated log Z agree with exact ones where these can be had, and say what they are."""

from __future__ import annotations

import math

import pytest
import torch

from exnihilo.core import Batch, DataSpec, create
from exnihilo.evaluation.normalisers import OPTIMISTIC, estimated_values
from exnihilo.models.energy import DeepBoltzmannMachine, RestrictedBoltzmannMachine

X = torch.randint(0, 2, (50, 6), generator=torch.Generator().manual_seed(0)).float()


def rbm() -> RestrictedBoltzmannMachine:
    torch.manual_seed(0)
    model = create("rbm", DataSpec("vector", (6,), levels=2), width=5)
    assert isinstance(model, RestrictedBoltzmannMachine)
    with torch.no_grad():
        model.weight.normal_()
    return model


@torch.no_grad()
def test_an_estimate_stands_for_a_sum_that_is_too_large() -> None:
    model = rbm()
    exact, log_z = -model.log_prob(X).double(), model.log_partition("exact").value
    assert estimated_values(model, Batch(X), "here") == {}
    model.exact = False  # as if there were more units
    model.withdrawn |= {"log_prob", "log_prob_bound"}
    values = estimated_values(model, Batch(X), "here")
    assert set(values) == {"log_partition", "bits_per_dim"}
    assert values["log_partition"].low < log_z < values["log_partition"].high
    assert values["log_partition"].value == pytest.approx(log_z, abs=0.1)
    figure = values["bits_per_dim"]
    assert figure.value * 6 * math.log(2) == pytest.approx(float(exact.mean()), abs=0.1)
    spread = 1.96 * float(exact.std()) / math.sqrt(50) / (6 * math.log(2))
    assert figure.value - figure.low > spread
    assert figure.notes == (OPTIMISTIC,)
    assert "here" in figure.protocol


@torch.no_grad()
def test_a_bound_keeps_its_own_figure() -> None:
    torch.manual_seed(0)
    model = create("dbm", DataSpec("vector", (6,), levels=2), width=3)
    assert isinstance(model, DeepBoltzmannMachine)
    model.exact = False
    values = estimated_values(model, Batch(X), "here")
    assert set(values) == {"log_partition"}
    assert values["log_partition"].value == pytest.approx(float(model.log_normaliser()), abs=0.1)


def test_grey_levels_have_no_estimate() -> None:
    model = create("rbm", DataSpec("image", (1, 5, 5), levels=17), width=30)
    assert estimated_values(model, Batch(torch.zeros(4, 1, 5, 5)), "here") == {}
