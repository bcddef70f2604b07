"""Vector quantisation: nearest codes, running means by hand, straight-through gradients, and the second stage."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import one_hot

import exnihilo.models  # noqa: F401
from exnihilo.core import Batch, DataSpec, Noise, create, seeded
from exnihilo.data import load_data
from exnihilo.models.autoencoders.quantised import Codebook, QuantisedAutoencoder
from exnihilo.nets.maps import MapDecoder, MapEncoder, map_sides
from exnihilo.nets.masked import MADE
from exnihilo.nets.pixels import PixelCNN
from exnihilo.training import Budget, Trainer

torch.set_num_threads(1)
BITS = DataSpec("vector", (4,), levels=2, examples=50)
PICTURE = DataSpec("image", (1, 14, 13), levels=17, examples=50)


def model(spec: DataSpec = BITS, **options: object) -> QuantisedAutoencoder:
    options = {"codes": 3, "latent": 2, "groups": 2, "width": 16, "depth": 1} | options
    made = create("vqvae", spec, **options)
    assert isinstance(made, QuantisedAutoencoder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for weight in made.prior.parameters():
            weight.data = 0.5 * torch.randn_like(weight)
    return made


def test_nearest_codes():
    z, vectors = torch.randn(50, 4), torch.randn(9, 4)
    assert torch.equal(Codebook.nearest(z, vectors), torch.cdist(z, vectors).argmin(dim=1))
    assert torch.equal(Codebook.nearest(vectors, vectors), torch.arange(9))


def test_running_means_by_hand():
    book = Codebook(3, 2, decay=0.9)
    book.counts.copy_(torch.tensor([2.0, 1.0, 4.0]))
    book.sums.copy_(torch.tensor([[2.0, 0.0], [0.0, 3.0], [-8.0, -8.0]]))
    torch.testing.assert_close(book.vectors, torch.tensor([[1.0, 0.0], [0.0, 3.0], [-2.0, -2.0]]))
    z = torch.tensor([[1.0, 1.0], [3.0, 0.0], [0.0, 4.0]])
    book.note(z, torch.tensor([0, 0, 1]))
    book.learn()
    torch.testing.assert_close(book.counts, torch.tensor([2.0, 1.0, 3.6]))
    torch.testing.assert_close(book.sums, torch.tensor([[2.2, 0.1], [0.0, 3.1], [-7.2, -7.2]]))
    assert book.seen_counts.abs().sum() + book.seen_sums.abs().sum() == 0


def test_a_dead_code_becomes_a_vector_of_the_batch():
    book = Codebook(3, 2, decay=0.5)
    book.counts.copy_(torch.tensor([1.0, 1.0, 0.01]))
    z = torch.randn(8, 2) + 5
    book.note(z, torch.tensor([0, 1] * 4))
    before = book.vectors.clone()
    book.learn()
    assert (book.vectors[2] == z).all(dim=1).any() or torch.cdist(book.vectors[2:], z).min() < 1e-5
    assert not torch.allclose(book.vectors[2], before[2])
    assert torch.isfinite(book.vectors).all()


def test_with_a_fixed_encoder_it_is_k_means():
    from sklearn.cluster import KMeans

    generator = torch.Generator().manual_seed(0)
    centres = 4 * torch.randn(6, 2, generator=generator)
    z = centres[torch.randint(6, (600,), generator=generator)] + 0.5 * torch.randn(600, 2, generator=generator)
    book = Codebook(6, 2, decay=0.9)
    with seeded("book"):
        book.begin(z, batch=100)
        for _ in range(120):
            part = z[torch.randperm(600)[:100]]
            book.note(part, book.nearest(part, book.vectors))
            book.learn()
    inertia = float(torch.cdist(z, book.vectors).min(dim=1).values.square().sum())
    best = KMeans(6, n_init=10, random_state=0).fit(np.asarray(z)).inertia_
    assert inertia < 1.02 * best


def test_gradients_go_straight_through():
    made = model().train()
    x = torch.randint(2, (6, 4)).float()
    z = made.vectors_of(x)
    near = made.quantise(z)[1].detach().requires_grad_()
    loss = -made.likelihood.log_prob(made.parameters_of(near), x).mean()
    at_code = torch.autograd.grad(loss, near)[0]
    expected = torch.autograd.grad((z * (at_code + 2 * made.commitment * (z - near).detach() / 6)).sum(), z)[0]
    weights = list(made.encoder.parameters())
    by_hand = torch.autograd.grad(made.vectors_of(x), weights, grad_outputs=expected)
    terms = made.loss(Batch(x))
    found = torch.autograd.grad(terms["reconstruction"] + terms["commitment"], weights)
    for a, b in zip(found, by_hand, strict=True):
        torch.testing.assert_close(a, b)


def test_quantising_twice_changes_nothing():
    made = model(PICTURE)
    x = PICTURE.from_levels(torch.randint(17, (3, 1, 14, 13)))
    z = made.encode(x)
    index, again = made.quantise(z)
    assert torch.equal(z, again)
    assert torch.equal(index, made.codes(x))
    torch.testing.assert_close(made.decode(z), made.reconstruct(x))


def test_figures_leave_the_codebook_alone():
    made = model().train()
    before = {name: buffer.clone() for name, buffer in made.named_buffers()}
    x = torch.randint(2, (6, 4)).float()
    made.log_prob_bound(x), made.encode(x), made.decode(torch.randn(3, 2, 2)), made.sample(4, seed=0)
    assert all(torch.equal(buffer, before[name]) for name, buffer in made.named_buffers())


def all_codes() -> Tensor:
    return torch.tensor(list(itertools.product(range(3), repeat=2)))


def test_the_bound_is_one_term_of_the_exact_sum():
    """p(x) = sum over all codes of p(code) p(x | code), which sums to one over all x."""
    made = model().eval()
    codes = all_codes()
    x = torch.tensor(list(itertools.product([0.0, 1.0], repeat=4)))
    log_prior = made.code_log_prob(codes)
    assert abs(float(log_prior.exp().sum().detach()) - 1) < 1e-5
    parameters = made.parameters_of(made.code_vectors(codes))
    each = torch.stack([made.likelihood.log_prob(parameters, row.expand(9, -1)) + log_prior for row in x])
    exact = each.logsumexp(dim=1)
    assert abs(float(exact.exp().sum().detach()) - 1) < 1e-5
    bound = made.log_prob_bound(x)
    assert (bound <= exact + 1e-5).all()
    chosen = (made.codes(x) * torch.tensor([3, 1])).sum(dim=1)
    torch.testing.assert_close(bound, each.gather(1, chosen[:, None])[:, 0])


def test_drawn_codes_follow_the_prior():
    made = model().eval()
    n = 20_000
    codes = made.draw_code(Noise(0, n))  # [n, 2, 2]
    vectors = made.codebook.vectors
    index = torch.cdist(codes.movedim(1, -1).reshape(-1, 2), vectors).argmin(dim=1).view(n, 2)
    share = one_hot((index * torch.tensor([3, 1])).sum(dim=1), 9).float().mean(dim=0)
    exact = made.code_log_prob(all_codes()).exp().detach()
    assert (share - exact).abs().max() < 5 * (exact * (1 - exact) / n).sqrt().max()


def test_data_choose_the_prior():
    assert isinstance(model().prior, MADE)
    assert isinstance(model(PICTURE).prior, PixelCNN)
    assert isinstance(model(DataSpec("image", (1, 8, 8), levels=17, examples=9)).prior, MADE)


@pytest.mark.parametrize("shape", [(1, 14, 13), (3, 16, 16), (1, 28, 28), (2, 17, 33)])
def test_maps_come_back_to_any_side(shape):
    side = map_sides(shape[1:])[-1]
    z = MapEncoder(shape, 5, 8, 1)(torch.randn(2, *shape))
    assert tuple(z.shape) == (2, 5, *side)
    assert MapDecoder(5, (6, *shape[1:]), 8, 1)(z).shape == (2, 6, *shape[1:])


def test_two_stages_begin_with_data_and_fill_the_codebook():
    digits = load_data("digits")
    made = create("vqvae", digits, codes=16, latent=4, groups=3, width=32)
    trainer = Trainer(made, digits, Budget(steps=450), seed=0)
    trainer.run()
    assert isinstance(made, QuantisedAutoencoder)
    assert [stage.name for stage in trainer.stages] == ["train", "prior"]
    x = digits.split("train").first(1000).x
    use = torch.bincount(made.codes(x).flatten(), minlength=16)
    assert (use > 0).float().mean() > 0.6
    learnt = made.bound_terms(x)["divergence"].mean()
    assert learnt < 3 * torch.tensor(16.0).log()  # the prior beats the uniform one
