"""Flows: densities that integrate to one, codes that decode, pictures of any sides."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from exnihilo.core import Batch, Column, DataError, DataSpec, ModelError, Noise, OptionError, Unsupported, create
from exnihilo.models.flows import Flow, StandardLogistic
from exnihilo.models.flows.couplings import noise_couplings
from exnihilo.nets.mlp import MLP
from exnihilo.probability.bijections import Flat
from exnihilo.probability.dequantisation import VariationalDequantisation

PLANE = DataSpec("vector", (2,), examples=100)
SPECS = {
    "plane": PLANE,
    "vector": DataSpec("vector", (13,)),
    "digits": DataSpec("image", (1, 8, 8), levels=17),
    "odd": DataSpec("image", (1, 9, 7), levels=17),
    "colour": DataSpec("image", (3, 16, 16), levels=256),
    "half_odd": DataSpec("image", (1, 13, 14), levels=4),
    "wholly_odd": DataSpec("image", (2, 13, 15), levels=4),
    "mnist": DataSpec("image", (1, 28, 28), levels=256),
}


class Examples:
    """The little of `Data` that `enter` asks for."""

    def __init__(self, x: Tensor):
        self.x = x

    def __len__(self) -> int:
        return len(self.x)

    def batch(self, k: int, size: int, seed: int) -> Batch:
        return Batch(self.x[:size])

    def first(self, n: int | None = None) -> Batch:
        return Batch(self.x[:n])


def shaken(spec: DataSpec, by: float = 0.2, name: str = "realnvp", **options: object) -> Flow:
    """A flow with random weights: as created, most are the identity."""
    torch.manual_seed(0)
    width = {} if name == "planar_flow" else {"width": 16}
    model = create(name, spec, seed=1, **width, **options)
    assert isinstance(model, Flow)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(by * torch.randn_like(weight))
    return model


#: Every recipe and variant, as (name, options).
FLOWS: dict[str, tuple[str, dict[str, object]]] = {
    "planar": ("planar_flow", {"kind": "planar", "depth": 4}),
    "radial": ("planar_flow", {"kind": "radial", "depth": 4}),
    "nice": ("nice", {}),
    "glow": ("glow", {"depth": 3}),
    "maf": ("maf", {"depth": 2}),
    "iaf": ("iaf", {"depth": 2}),
    "nsf": ("nsf", {"transform": "coupling", "depth": 2}),
    "nsf_autoregressive": ("nsf", {"transform": "autoregressive", "depth": 2}),
    "flow_pp": ("flow_pp", {"depth": 2}),
    "residual_flow": ("residual_flow", {"blocks": 2}),
    "ffjord": ("ffjord", {"steps": 6}),
}
every_flow = pytest.mark.parametrize("flow", FLOWS)


@every_flow
@pytest.mark.parametrize("place", ["vector", "odd", "colour_odd"])
def test_every_flow_inverts_and_knows_its_log_determinant(flow: str, place: str) -> None:
    specs = {**SPECS, "colour_odd": DataSpec("image", (3, 2, 4), levels=256)}
    spec, (name, options) = specs[place], FLOWS[flow]
    model = shaken(spec, 0.05, name, **options).double()
    x = 2 * torch.rand(2, *spec.shape, dtype=torch.float64) - 1
    u, log_det = model(x)
    torch.testing.assert_close(model.decode(u), x, atol=1e-6, rtol=0)
    if spec.size < 30:
        jacobian = torch.autograd.functional.jacobian(lambda part: model.encode(part[None])[0], x[0])
        exact = torch.linalg.slogdet(jacobian.reshape(spec.size, spec.size))[1]
        torch.testing.assert_close(log_det[0], exact, atol=1e-6, rtol=0)


@every_flow
def test_every_density_integrates_to_one(flow: str) -> None:
    name, options = FLOWS[flow]
    model = shaken(PLANE, 0.1, name, **options)
    line = torch.linspace(-8, 8, 201)
    x = torch.cartesian_prod(line, line)
    with torch.no_grad():
        total = model.log_prob(x).exp().sum() * (16 / 200) ** 2
    assert float(total) == pytest.approx(1, abs=1e-2)


@every_flow
def test_every_density_is_finite_far_out_and_in_half_precision(flow: str) -> None:
    name, options = FLOWS[flow]
    model = shaken(SPECS["vector"], 0.1, name, **options)
    x = (torch.tensor([1.0, 50.0, 1e3, 1e6])[:, None] * torch.randn(4, 13).sign()).requires_grad_()
    model.log_prob(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        half, near = model.log_prob(x), model.log_prob(x[:1] / 2)
        drawn = model.decode(torch.randn(3, 13))
    assert half.dtype == torch.float32
    assert half.isfinite().all()
    assert drawn.isfinite().all()
    torch.testing.assert_close(near, model.log_prob(x[:1] / 2).detach(), atol=0.5, rtol=0.02)


@pytest.mark.parametrize("name", ["glow", "nsf", "flow_pp", "residual_flow"])
@pytest.mark.parametrize("place", ["half_odd", "wholly_odd", "one_odd", "mnist"])
def test_larger_pictures_go_through_convolutions_and_back(name: str, place: str) -> None:
    spec = {**SPECS, "one_odd": DataSpec("image", (1, 13, 15), levels=4)}[place]
    sizes = {"residual_flow": {"blocks": 1}, "flow_pp": {"components": 2}}.get(name, {"depth": 1})
    model = shaken(spec, 0.02, name, **sizes).double()
    assert not any(isinstance(part, MLP) for part in model.bijection.modules())
    x = 2 * torch.rand(2, *spec.shape, dtype=torch.float64) - 1
    with torch.no_grad():
        u = model.encode(x)
        assert u.shape == (2, spec.size)
        torch.testing.assert_close(model.decode(u), x, atol=1e-5, rtol=0)


def test_pictures_whose_determinant_is_estimated_learn_in_training_mode() -> None:
    spec = DataSpec("image", (1, 14, 14), levels=4)
    model = create("residual_flow", spec, width=32, blocks=1).train()
    x = torch.rand(4, 1, 14, 14)
    model.loss(Batch(x))["nats"].backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())


def test_nice_has_one_log_determinant_for_all() -> None:
    model = shaken(SPECS["vector"], 0.2, "nice")
    log_det = model(torch.randn(6, 13))[1]
    torch.testing.assert_close(log_det, log_det[:1].expand(6))


def test_logistic_base_is_torchs() -> None:
    base, u = StandardLogistic((3,)), torch.randn(5, 3)
    uniform = torch.distributions.Uniform(0.0, 1.0)
    logistic = torch.distributions.TransformedDistribution(uniform, [torch.distributions.SigmoidTransform().inv])
    torch.testing.assert_close(base.log_prob(u), logistic.log_prob(u).sum(dim=1), atol=1e-4, rtol=1e-4)
    drawn = base.draw(Noise(0, 20_000), 0.5)
    assert drawn.std().item() == pytest.approx(0.5 * math.pi / math.sqrt(3), rel=0.02)


def test_a_masked_flow_learns_a_gaussians_factor() -> None:
    """One layer fits a Gaussian: its entropy is reached (likelihood card 5.5)."""
    torch.manual_seed(0)
    factor = torch.tensor([[1.0, 0, 0], [0.8, 0.5, 0], [-0.5, 0.4, 0.7]])
    x = torch.randn(4000, 3) @ factor.T
    model = create("maf", DataSpec("vector", (3,)), width=16, depth=1)
    model.initialise(Examples(x))  # type: ignore[operator]
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(300):
        optimizer.zero_grad()
        model.log_prob(x[(step * 500) % 4000 :][:500]).mean().neg().backward()
        optimizer.step()
    entropy = 1.5 * (1 + math.log(2 * math.pi)) + factor.diagonal().log().sum().item()
    assert -model.log_prob(x).mean().item() == pytest.approx(entropy, abs=0.04)


# -- classes ---------------------------------------------------------------------------------------------------------

LABELLED = {
    "plane": DataSpec("vector", (2,), classes=3, class_shares=(0.5, 0.3, 0.2)),
    "large": DataSpec("image", (1, 14, 13), levels=4, classes=2, class_shares=(0.6, 0.4)),
}
#: Every flow that takes a class, as (options, smallest sizes).
CONDITIONAL: dict[str, dict[str, object]] = {
    "nice": {"depth": 2},
    "realnvp": {"depth": 4},
    "glow": {"depth": 2},
    "nsf": {"depth": 2},
    "maf": {"depth": 2},
    "iaf": {"depth": 2},
}


@pytest.mark.parametrize("name", CONDITIONAL)
def test_classes_by_bayes_rule(name: str) -> None:
    model = shaken(LABELLED["plane"], 0.1, name, conditional=True, **CONDITIONAL[name])
    line = torch.linspace(-8, 8, 161)
    x = torch.cartesian_prod(line, line)
    with torch.no_grad():
        each = torch.stack([model.log_prob(x, label=torch.full((len(x),), c)) for c in range(3)], dim=1)
        joint = each + torch.tensor([0.5, 0.3, 0.2]).log()
        torch.testing.assert_close(model.log_prob(x), joint.logsumexp(dim=1), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(model.classify(x[:50]), joint[:50].log_softmax(dim=1), atol=1e-4, rtol=1e-4)
    for total in each.exp().sum(dim=0) * 0.1**2:
        assert float(total) == pytest.approx(1, abs=2e-2)
    assert each[:, :2].diff(dim=1).abs().max() > 1e-2
    assert "classify" in model.capabilities
    assert not torch.equal(model.sample(20, seed=0, label=0), model.sample(20, seed=0, label=1))
    with pytest.raises(OptionError, match="labels"):
        create(name, PLANE, conditional=True)


@pytest.mark.parametrize("name", [name for name in CONDITIONAL if name != "iaf"])
def test_given_the_class_it_inverts(name: str) -> None:
    spec = LABELLED["large"] if name in ("realnvp", "glow", "nsf") else LABELLED["plane"]
    model = shaken(spec, 0.05, name, conditional=True, **CONDITIONAL[name]).double()
    x, label = torch.randn(3, *spec.shape, dtype=torch.float64), torch.tensor([0, 1, -1])
    with torch.no_grad():
        u = model.encode(x, label=label)
        torch.testing.assert_close(model.decode(u, label=label), x, atol=1e-6, rtol=0)
        assert not torch.allclose(model.decode(u, label=label.flip(0))[0], x[0], atol=1e-4)
        torch.testing.assert_close(model.reconstruct(x), x, atol=1e-6, rtol=0)  # without a class as well


def test_it_learns_which_class_stands_where() -> None:
    torch.manual_seed(0)
    label = torch.arange(400) % 2
    x = torch.randn(400, 2) * 0.3 + torch.where(label == 0, -1.0, 1.0)[:, None]
    spec = DataSpec("vector", (2,), classes=2, class_shares=(0.5, 0.5), class_names=("left", "right"))
    model = create("realnvp", spec, width=16, depth=4, conditional=True)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(150):
        optimizer.zero_grad()
        model.loss(Batch(x, label))["nats"].backward()
        optimizer.step()
    assert model.sample(200, seed=0, label="left").mean() < -0.7
    assert model.sample(200, seed=0, label="right").mean() > 0.7
    assert (model.classify(x).argmax(dim=1) == label).float().mean() > 0.97
    everything = model.sample(400, seed=0)
    assert 0.4 < (everything.mean(dim=1) > 0).float().mean() < 0.6
    assert -model.log_prob(x).mean() < -model.log_prob(x, label=1 - label).mean() - 3


# -- columns that never change ---------------------------------------------------------------------------------------


def test_constant_columns_are_named() -> None:
    columns = (Column("height", "number", 0), Column("country", "number", 1), Column("weight", "number", 2))
    x = torch.randn(50, 3)
    x[:, 1] = 0.25
    table = create("realnvp", DataSpec("table", (3,), columns=columns), width=8)
    with pytest.raises(DataError, match=r"never change: country\. .* -d drop=country\.$"):
        table.initialise(Examples(x))  # type: ignore[operator]
    plain = create("maf", DataSpec("vector", (3,)), width=8)
    with pytest.raises(DataError, match="entry 1"):
        plain.initialise(Examples(x))  # type: ignore[operator]
    x[49, 1] = 0.5  # rare is not never
    plain.initialise(Examples(x))  # type: ignore[operator]


def test_constant_pixels_are_no_mistake_since_levels_are_spread() -> None:
    model = create("nsf", SPECS["digits"], width=8, depth=1)
    model.initialise(Examples(torch.full((20, 1, 8, 8), -1.0)))  # type: ignore[operator]
    assert model.log_prob(torch.full((1, 1, 8, 8), -1.0)).isfinite().all()


# -- dequantisation --------------------------------------------------------------------------------------------------


def test_golden_uniform_dequantisation() -> None:
    """Likelihood card G16: the mean of log N(x + u) over a bin bounds the logarithm of the bin's mass."""
    spec = DataSpec("vector", (1,), levels=4)
    x = spec.from_levels(torch.arange(4))[:, None]
    u = (torch.arange(2000) + 0.5) / 2000
    raw = torch.arange(4)[:, None] + u - 1.5  # the raw scale on which the card's normal stands
    bound = (-0.5 * raw.double().square() - 0.5 * math.log(2 * math.pi)).mean(dim=1)
    assert bound.tolist() == pytest.approx([-1.4606052, -0.9606052, -1.4606052, -2.9606052], abs=1e-6)
    noisy, log_q = spec.dequantise(x.expand(4, 1))
    assert ((noisy - x).abs() <= spec.step / 2).all()
    assert log_q.tolist() == pytest.approx([math.log(3)] * 4)


@pytest.mark.parametrize("shape", [(2,), (1, 4, 6), (1, 3, 5), (3, 2, 2)])
def test_learned_noise_stays_within_its_step_and_knows_its_density(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    step, size = 0.5, math.prod(shape)
    noise = VariationalDequantisation(noise_couplings(shape, width=8, depth=2), step).double()
    x = torch.randn(3, *shape, dtype=torch.float64)
    noisy, log_q = noise(x)
    assert ((noisy - x).abs() <= step / 2).all()
    torch.testing.assert_close(log_q, torch.full((3,), -size * math.log(step), dtype=torch.float64))  # uniform so far
    for weight in noise.parameters():
        weight.data.add_(0.2 * torch.randn_like(weight))
    e = torch.randn(1, *shape, dtype=torch.float64)
    both = torch.cat([e, x[:1]], dim=1)

    def place(e: Tensor) -> Tensor:
        moved = noise.bijection(torch.cat([e, x[:1]], dim=1))[0][:, : shape[0]]
        return step * moved.sigmoid()

    jacobian = torch.autograd.functional.jacobian(place, e).reshape(size, size)
    u, log_det = noise.bijection(both)
    assert torch.equal(u[:, shape[0] :], x[:1])
    torch.testing.assert_close(noise.bijection.inverse(u), both)
    logistic = torch.nn.functional.logsigmoid
    moved = u[:, : shape[0]]
    slope = log_det + (logistic(moved) + logistic(-moved)).sum() + size * math.log(step)
    torch.testing.assert_close(torch.linalg.slogdet(jacobian)[1], slope[0], atol=1e-8, rtol=0)


def test_learned_noise_bounds_the_mass_and_beats_the_uniform() -> None:
    """One number of three levels under a fixed normal: uniform bound <= learned bound <= exact log mass."""
    torch.manual_seed(0)
    spec = DataSpec("vector", (2,), levels=3)
    learned = VariationalDequantisation(noise_couplings((2,), width=16, depth=4), spec.step)
    flow = Flow([Flat((2,))], _Sharp(), dequantisation=learned)
    flow.spec = spec
    x = spec.from_levels(torch.randint(3, (256, 2)))
    normal = torch.distributions.Normal(0.5, 0.1)
    exact = (normal.cdf(x + 0.25) - normal.cdf(x - 0.25)).log().sum(dim=1).mean().item()
    before = flow.log_prob_bound(x, k=20).mean().item()
    assert before < exact - 0.3
    optimizer = torch.optim.Adam(flow.parameters(), 1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        flow.loss(Batch(x))["nats"].backward()
        optimizer.step()
    one, many = flow.log_prob_bound(x, k=1).mean().item(), flow.log_prob_bound(x, k=50).mean().item()
    uniform = [flow.log_density(spec.dequantise(x)[0]) - 2 * math.log(2) for _ in range(20)]
    assert torch.stack(uniform).mean().item() + 0.2 < one < exact
    assert one < many < exact + 0.01


class _Sharp(torch.nn.Module):
    """N(0.5, 0.1^2) of both entries, as a base."""

    def log_prob(self, u: Tensor) -> Tensor:
        return torch.distributions.Normal(0.5, 0.1).log_prob(u).sum(dim=1)


def test_a_flow_with_learned_noise_is_one_of_levels() -> None:
    model = create("flow_pp", SPECS["digits"], width=8, depth=2)
    assert model.mass
    assert "log_prob" not in model.capabilities
    assert "log_prob_bound" in model.capabilities
    x = SPECS["digits"].from_levels(torch.randint(17, (3, 1, 8, 8)))
    with pytest.raises(Unsupported, match="cannot log_prob"):
        model.log_prob(x)
    assert torch.equal(model.log_prob_bound(x, seed=3), model.log_prob_bound(x, seed=3))
    assert not torch.equal(model.log_prob_bound(x, seed=3), model.log_prob_bound(x, seed=4))
    assert "log_prob" in create("flow_pp", PLANE, width=8).capabilities


@pytest.mark.parametrize("name", SPECS)
def test_codes_decode_and_have_as_many_numbers(name: str) -> None:
    spec, model = SPECS[name], shaken(SPECS[name], by=0.1).double()
    x = 2 * torch.rand(3, *spec.shape, dtype=torch.float64) - 1
    u = model.encode(x)
    assert u.shape == (3, spec.size)
    assert not torch.allclose(u, x.flatten(1), atol=0.1)
    torch.testing.assert_close(model.decode(u), x, atol=1e-8, rtol=0)


@pytest.mark.parametrize("name", ["vector", "odd", "half_odd"])
def test_log_determinant_is_autograds(name: str) -> None:
    spec, model = SPECS[name], shaken(SPECS[name], by=0.1).double()
    x = torch.randn(spec.shape, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda part: model.encode(part[None])[0], x)
    exact = torch.linalg.slogdet(jacobian.reshape(spec.size, spec.size))[1]
    torch.testing.assert_close(model(x[None])[1][0], exact, atol=1e-8, rtol=0)


def test_density_integrates_to_one() -> None:
    model = shaken(PLANE, by=0.1)
    line = torch.linspace(-8, 8, 401)
    x = torch.cartesian_prod(line, line)
    with torch.no_grad():
        total = model.log_prob(x).exp().sum() * (16 / 400) ** 2
    assert float(total) == pytest.approx(1, abs=1e-2)


def test_samples_follow_the_density() -> None:
    model = shaken(PLANE, by=0.1)
    line = torch.linspace(-8, 8, 201)
    x = torch.cartesian_prod(line, line)
    with torch.no_grad():
        p = model.log_prob(x).exp()
    mean = (x * p[:, None]).sum(dim=0) / p.sum()
    variance = ((x - mean).square() * p[:, None]).sum(dim=0) / p.sum()
    samples = model.sample(8000, seed=0)
    torch.testing.assert_close(samples.mean(dim=0), mean, atol=0.06, rtol=0)
    torch.testing.assert_close(samples.var(dim=0), variance, atol=0.02, rtol=0.08)


def test_an_untrained_flow_is_the_gaussian_of_the_data() -> None:
    torch.manual_seed(0)
    data = torch.randn(300, 2) * torch.tensor([2.0, 0.1]) + 5
    model = create("realnvp", PLANE, width=8)
    assert isinstance(model, Flow)
    model.initialise(Examples(data))  # type: ignore[arg-type]
    normal = torch.distributions.Normal(data.mean(dim=0), data.std(dim=0, correction=0))
    torch.testing.assert_close(model.log_prob(data), normal.log_prob(data).sum(dim=1), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("name", ["plane", "digits", "half_odd"])
def test_finite_at_fifty_deviations_also_in_half_precision(name: str) -> None:
    model = shaken(SPECS[name])
    x = (50 * torch.randn(8, *SPECS[name].shape).sign()).requires_grad_()
    model.log_prob(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = model.log_prob(x.detach())
    assert half.dtype == torch.float32
    assert half.isfinite().all()


def test_learning_lowers_the_loss_and_keeps_densities_of_one_example_alone() -> None:
    torch.manual_seed(0)
    angle = 2 * math.pi * torch.rand(256)
    ring = torch.stack([angle.cos(), angle.sin()], dim=1) + 0.1 * torch.randn(256, 2)
    model = create("realnvp", PLANE, width=32, dropout=0.0)
    first = model.loss(Batch(ring))["nats"].item()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    model.train()
    for _ in range(200):
        optimizer.zero_grad()
        loss = model.loss(Batch(ring))["nats"]
        loss.backward()
        optimizer.step()
    assert loss.item() < first - 1
    model.eval()
    torch.testing.assert_close(model.log_prob(ring[:1]), model.log_prob(ring)[:1])


def test_levels_are_dequantised_before_the_density_sees_them() -> None:
    model = create("realnvp", SPECS["digits"], width=8)
    seen: list[Tensor] = []
    model.bijection.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model.loss(Batch(torch.ones(4, 1, 8, 8)))
    assert seen[0].std() > 0
    assert (seen[0] - 1).abs().max() <= 1 / 16


def test_samples_are_their_own_whatever_the_batch() -> None:
    model = shaken(SPECS["digits"], by=0.1)
    whole = model.sample(6, seed=5)
    alone = model.sample(1, seed=Noise(5, [4]))
    torch.testing.assert_close(whole[4:5], alone, atol=1e-5, rtol=1e-5)
    cold = model.sample(50, seed=5, temperature=0.0)
    assert cold.std(dim=0).max() < 1e-5


def test_data_of_one_number_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match="gmm"):
        create("realnvp", DataSpec("vector", (1,)))
