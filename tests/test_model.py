"""Heads and towers: shapes, standardisation, named outputs."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hashzoo.model import Dropout, HashHead, Outputs, Perceptron, RandomHead, Tower, Towers, encode

WIDTHS = {"pooled": 6, "stage1": 3}


class Echo(nn.Module):
    """A head that gives back what it was given, by name."""

    def forward(self, x):
        return torch.cat([x[name] for name in WIDTHS], dim=1)


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("settings", "layers"),
    [
        ({"hidden": 5}, ["Perceptron"]),
        ({"hidden": 5, "dropout": 0.2, "activation": "none"}, ["Perceptron"]),
        ({"hidden": 0}, ["Linear", "Tanh"]),
        ({"hidden": 0, "dropout": 0.2, "activation": "none"}, ["Dropout", "Linear"]),
    ],
)
def test_layers_of_the_head(settings, layers):
    head = HashHead(WIDTHS, 7, **settings)
    assert [type(layer).__name__ for layer in head.layers] == layers
    assert head({"pooled": normal(4, 6)}).shape == (4, 7)


def slow_perceptron(perceptron: Perceptron, x: torch.Tensor, kept: torch.Tensor | float = 1.0) -> torch.Tensor:
    values = perceptron.output(torch.relu(perceptron.hidden(x)) * kept)
    return torch.tanh(values) if perceptron.tanh else values


def gradients(perceptron: Perceptron, x: torch.Tensor, values: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad((values * normal(*values.shape, seed=2)).sum(), [x, *perceptron.parameters()]))


@pytest.mark.parametrize("tanh", [True, False])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_a_perceptron_is_its_layers_one_by_one(tanh, kind):
    perceptron, x = Perceptron(6, 9, 4, tanh=tanh).to(kind), normal(5, 6).to(kind).requires_grad_()
    slow = slow_perceptron(perceptron, x)
    torch.testing.assert_close(perceptron(x), slow)
    assert torch.equal(perceptron.eval()(x), slow)
    for found, wanted in zip(
        gradients(perceptron.train(), x, perceptron(x)), gradients(perceptron, x, slow), strict=True
    ):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])  # compiled, and as on a GPU
def test_the_gradient_of_a_perceptron_is_that_of_the_units_it_keeps(kind):
    torch.manual_seed(0)
    perceptron, x = Perceptron(6, 40, 40, dropout=0.25, tanh=False).to(kind), normal(30, 6).to(kind).requires_grad_()
    torch.nn.init.eye_(perceptron.output.weight)
    torch.nn.init.zeros_(perceptron.output.bias)
    values = perceptron(x)  # the hidden units themselves
    whole = slow_perceptron(perceptron, x)
    kept = torch.where(values > 0, 4 / 3, 0.0).to(kind)
    assert (values[whole > 0] > 0).double().mean().item() == pytest.approx(0.75, abs=0.06)
    torch.testing.assert_close(values, whole * kept)
    wanted = gradients(perceptron, x, slow_perceptron(perceptron, x, kept))
    torch.testing.assert_close(gradients(perceptron, x, values), wanted)


def test_a_perceptron_drops_as_the_seed_says():
    def values(seed: int) -> torch.Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return perceptron(x)

    perceptron, x = Perceptron(6, 50, 4, dropout=0.5), normal(5, 6)
    assert torch.equal(values(1), values(1))
    assert not torch.equal(values(1), values(2))


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_dropout_drops_its_share_anew_each_time_and_keeps_the_mean(share):
    dropout, ones = Dropout(share), torch.ones(257, 401)  # no multiple of eight
    with torch.random.fork_rng():
        torch.manual_seed(0)
        one, other = dropout(ones), dropout(ones)
    kept = one > 0
    exact = round(share * 256) / 256
    assert kept.double().mean().item() == pytest.approx(1 - exact, abs=0.005)
    torch.testing.assert_close(one[kept], torch.full((int(kept.sum()),), 1 / (1 - exact)))
    alike = exact**2 + (1 - exact) ** 2
    assert (kept == (other > 0)).double().mean().item() == pytest.approx(alike, abs=0.01)
    assert (kept[:, 1:] == kept[:, :-1]).double().mean().item() == pytest.approx(alike, abs=0.01)


@pytest.mark.parametrize(("share", "dropped"), [(0, 0), (1e-6, 1), (0.2, 51), (0.5, 128), (0.9999, 255)])
def test_dropout_takes_the_nearest_share_that_drops_some_and_keeps_some(share, dropped):
    assert Dropout(share).dropped == Perceptron(2, 2, 2, share).dropped == dropped


def test_the_gradient_of_dropout_is_zero_where_it_drops():
    x = normal(8, 16).requires_grad_()
    with torch.random.fork_rng():
        y = Dropout(0.5)(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad, torch.where(y == 0, 0.0, 2.0))


def test_dropout_rests_in_evaluation_and_refuses_what_is_no_share():
    x = normal(3, 5)
    assert Dropout(0.5).eval()(x) is x
    with pytest.raises(ValueError, match="from 0 to below 1, not 1"):
        Dropout(1)


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="activation is tanh or none, not 'relu'"):
        HashHead(WIDTHS, 7, activation="relu")


def test_tanh_keeps_values_inside_one():
    values = HashHead(WIDTHS, 64)({"pooled": 100 * normal(50, 6)})
    assert values.abs().max() <= 1


def test_random_codes_are_a_function_of_the_item_and_look_random():
    torch.manual_seed(0)
    head = RandomHead({"pooled": 48}, 64)
    x = normal(500, 48)
    bits = head({"pooled": x}) > 0
    assert torch.equal(bits, head({"pooled": x.clone()}) > 0)
    assert 0.45 < bits.float().mean() < 0.55
    # A tiny step already leads to unrelated bits.
    moved = head({"pooled": x + 0.1 * normal(500, 48, seed=1)}) > 0
    assert 0.4 < (bits != moved).float().mean() < 0.6
    assert not list(head.parameters())


def test_features_are_centred_one_by_one_and_scaled_output_by_output():
    tower = Tower(Echo(), WIDTHS)
    features = normal(200, 9) * torch.tensor([3.0] * 6 + [50.0] * 3) + torch.arange(9.0)
    tower.standardise(features)
    out = tower(features)
    torch.testing.assert_close(out.mean(0), torch.zeros(9), atol=1e-4, rtol=0)
    for part in out.split([6, 3], dim=1):
        torch.testing.assert_close(part.square().mean().sqrt(), torch.tensor(1.0))
    assert torch.equal(tower.mean, features.mean(0))
    torch.testing.assert_close(tower.scale.unique(), tower.scale[[0, 6]].sort().values)
    assert {"mean", "scale"} <= set(tower.state_dict())


def test_a_constant_feature_does_not_divide_by_zero():
    tower = Tower(Echo(), WIDTHS)
    tower.standardise(torch.ones(10, 9))
    assert torch.isfinite(tower(torch.ones(3, 9))).all()


def test_named_outputs_lie_in_the_order_of_widths():
    parts = Tower(Echo(), WIDTHS).features(torch.arange(18.0).view(2, 9))
    assert list(parts) == ["pooled", "stage1"]
    assert parts["stage1"].tolist() == [[6, 7, 8], [15, 16, 17]]


def test_a_tower_with_its_encoder_equals_one_on_its_features(tiny):
    from hashzoo_tiny.parts import Tiny

    encoder, widths = Tiny(), {"pooled": 48, "rows": 12}
    prepared = torch.randint(0, 256, (10, 3, 4, 4), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    outputs = encoder.forward_outputs(prepared)
    features = torch.cat([outputs["pooled"], outputs["rows"]], dim=1).detach()
    head = HashHead(widths, 8)
    alone, along = Tower(head, widths), Tower(head, widths, encoder)
    alone.standardise(features)
    along.standardise(features)
    torch.testing.assert_close(alone(features), along(prepared))
    assert len(list(along.parameters())) == len(list(alone.parameters())) + 1


def test_towers_give_outputs():
    towers = Towers(nn.Linear(3, 2), nn.Linear(4, 2))
    out = towers(normal(5, 3), normal(5, 4))
    assert isinstance(out, Outputs)
    assert out.image.shape == out.text.shape == (5, 2)


@pytest.mark.parametrize("training", [True, False])
def test_encode_runs_in_evaluation_mode_and_puts_the_mode_back(training):
    tower = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5))
    tower.train(training)
    inputs = normal(11, 4)
    whole = encode(tower, inputs)
    assert tower.training is training
    assert not whole.requires_grad
    torch.testing.assert_close(whole, tower[0](inputs).detach())
    torch.testing.assert_close(encode(tower, inputs, batch=3), whole)


def test_encode_puts_the_mode_back_after_a_failure():
    tower = nn.Linear(4, 4).train()
    with pytest.raises(RuntimeError):
        encode(tower, normal(3, 5))
    assert tower.training


def test_encode_takes_towers_without_parameters():
    assert encode(nn.Tanh(), normal(2, 3)).shape == (2, 3)
