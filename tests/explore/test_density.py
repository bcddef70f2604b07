from __future__ import annotations

import pytest
import torch

from exnihilo.core import Noise, Unsupported, create
from exnihilo.data import load_data
from exnihilo.explore import codes_of_draws, with_density
from tests.explore.models import Drawing, Plain


def test_the_density_has_the_moments_of_the_codes() -> None:
    data = load_data("digits")
    model = Plain(data.spec, torch.eye(64)[[20, 28, 36]])
    able = with_density(model, data, components=4)
    assert {"sample", "encode", "decode", "reconstruct"} == set(able.capabilities)
    drawn = codes_of_draws(able, range(4000), seed=0)
    codes = model.encode(data.split("train").first().x)
    torch.testing.assert_close(drawn.mean(dim=0), codes.mean(dim=0), atol=0.05, rtol=0)
    torch.testing.assert_close(drawn.T.cov(), codes.T.cov(), atol=0.06, rtol=0)
    torch.testing.assert_close(able.sample(5, seed=1), able.decode(codes_of_draws(able, range(5), seed=1)))


def test_it_is_a_function_of_its_seed_and_sample_i_of_its_stream() -> None:
    data = load_data("digits")
    model = Plain(data.spec, torch.eye(64)[:4])
    before = torch.get_rng_state()
    one, other = with_density(model, data), with_density(model, data)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(one.sample(6, seed=2), other.sample(6, seed=2))
    torch.testing.assert_close(one.sample(1, seed=Noise(2, [4])), one.sample(6, seed=2)[4:5])


def test_an_autoencoder_says_why_it_cannot_sample_and_what_to_do() -> None:
    model = create("autoencoder", load_data("iris"), latent=2, width=8)
    with pytest.raises(Unsupported, match=r"autoencoder cannot sample.*which codes occur.*sample RUN --density"):
        model.sample(2)


def test_it_needs_a_code() -> None:
    data = load_data("digits")
    with pytest.raises(Unsupported, match="drawing cannot encode"):
        with_density(Drawing(data.spec, torch.eye(2, 64)), data)
