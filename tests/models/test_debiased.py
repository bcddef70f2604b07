from __future__ import annotations

import numpy as np
import pytest
import torch

import exnihilo.models  # noqa: F401
from exnihilo.core import DataError, ModelError, TrainingError, create, seeded
from exnihilo.data import load_data
from exnihilo.models.autoencoders.debiased import rarity
from exnihilo.training import Budget, Trainer


def blobs(rare: int = 6):
    """Two classes of points; class 1 has a large group at (2, 2) and a rare one at (-3, 3)."""
    rng = np.random.default_rng(0)
    places = [((-2, -2), 90), ((2, 2), 90 - rare), ((-3, 3), rare)]
    x = np.concatenate([rng.normal(size=(count, 2)) * 0.3 + place for place, count in places])
    order = rng.permutation(len(x))
    label = np.repeat(["no", "yes"], 90)
    return load_data((x[order], label[order]))


DATA = blobs()


def model(**options):
    return create("db_vae", DATA, width=16, latent=2, resamplings=3, **options)


def test_weights_by_the_histogram_of_the_code():
    """Golden values of the authors' course: ten bins, densities, smoothing .001, 10 and without end."""
    codes = torch.cat([torch.zeros(90, 1), torch.ones(10, 1)])
    for smoothing, mass in ((0.001, 0.4997779), (10.0, 0.16101695), (1e9, 0.1)):
        for combine in ("max", "product"):
            weights = rarity(codes, smoothing=smoothing, combine=combine)
            assert weights[90:].sum().item() == pytest.approx(mass, abs=1e-6)
            assert weights.sum().item() == pytest.approx(1)
            assert (weights > 0).all()


def test_the_rarest_unit_counts_or_all_of_them_together():
    codes = torch.zeros(100, 2)
    codes[95:, 0] = 1.0
    codes[:5, 1] = 1.0
    largest, product = rarity(codes), rarity(codes, combine="product")
    assert largest[95:].sum() > 0.3
    assert largest[:5].sum() > 0.3
    assert product[95:].sum() == pytest.approx(product[:5].sum().item())
    assert torch.equal(rarity(codes, combine="uniform"), torch.full((100,), 0.01, dtype=torch.float64))


def test_the_product_of_many_units_does_not_fall_on_a_few_examples():
    """As many examples count as for one unit or more: 1 / sum w^2, of a thousand."""
    codes = torch.randn(1000, 32, generator=torch.Generator().manual_seed(0))
    several = {count: rarity(codes[:, :count], combine="product") for count in (1, 4, 32)}
    used = {count: 1 / weights.square().sum().item() for count, weights in several.items()}
    assert used[1] < used[4] < used[32]
    plain = (several[32].log() * 32**0.5).softmax(dim=0)
    assert 1 / plain.square().sum() < 20
    assert several[32].max() > 3 / 1000  # and yet the rare are drawn more often


def test_classes_are_drawn_alike_and_unlabelled_examples_never():
    net = model()
    label = torch.tensor([0] * 30 + [1] * 6 + [-1] * 4)
    weights = net.chances(torch.randn(40, 2, generator=torch.Generator().manual_seed(0)), label)
    for number in (0, 1):
        assert weights[label == number].sum().item() == pytest.approx(1)
    assert not weights[label == -1].any()
    one = model(debias="yes").chances(torch.zeros(40, 2), label)
    torch.testing.assert_close(one[label == 0], torch.full((30,), 1 / 30, dtype=torch.float64))
    plain = model(combine="none").chances(torch.zeros(40, 2), label)
    assert torch.equal(plain, (label >= 0).double())


def test_the_bound_is_learnt_on_the_debiased_class_alone():
    net = model(debias="yes")
    batch = DATA.split("train").first()
    for number, learns in ((0, False), (1, True)):
        net.zero_grad()
        with seeded("loss"):
            terms = net.loss(batch[batch.label == number])
        sum(term for term in terms.values() if term.requires_grad).backward()
        assert any(weight.grad is not None for weight in net.decoder.parameters()) is learns
        assert next(net.encoder.parameters()).grad is not None
        assert ("reconstruction" in terms) is learns


def test_its_stages_weigh_anew_and_prefer_the_rare_group():
    net = model(weight=1.0)
    trainer = Trainer(net, DATA, Budget(steps=300), seed=0)
    assert [stage.name for stage in trainer.stages] == ["resampling 1", "resampling 2", "resampling 3"]
    assert trainer.run()
    batch = DATA.split("train").first()
    yes = batch.label == DATA.spec.class_index("yes")
    rare = yes & (batch.x[:, 0] < 0)
    weights = net.chances(net.encode(batch.x).detach(), batch.label)
    share = float(rare.sum() / yes.sum())
    assert float(weights[rare].sum()) > 1.5 * share
    named = net.classify(batch.x)
    assert named.exp().sum(dim=1).allclose(torch.ones(len(batch)))
    assert (named.argmax(dim=1) == batch.label).float().mean() > 0.95


def test_the_view_is_a_function_of_the_buffer():
    net = model()
    trainer = Trainer(net, DATA, Budget(steps=3), seed=0)
    trainer.enter(trainer.stages[0])
    first = trainer.view.batch(0, 8, 0).index
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(1.0)
    again = trainer.stages[0].view(DATA.split("train")).batch(0, 8, 0).index
    assert torch.equal(first, again)


def test_mistakes_are_told():
    with pytest.raises(ModelError, match="-d label=COLUMN"):
        create("db_vae", load_data(np.random.default_rng(0).normal(size=(50, 3))))
    with pytest.raises(DataError, match=r"There is no class 'yess'. Did you mean 'yes'"):
        create("db_vae", DATA, debias="yess")
    empty = DATA.map(lambda batch: batch.replace(label=torch.full_like(batch.label, -1)))
    with pytest.raises(TrainingError, match="No training example has a label"):
        Trainer(model(), empty, Budget(steps=3)).run()
