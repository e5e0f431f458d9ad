"""The adversary's losses and its gradient penalty against slow transcriptions."""

import math

import pytest
import torch
from hashzoo_adversarial.critic import Adversary, gradient_penalty
from torch import nn


def adversary(divergence, penalty=0.0, lr=1e-2):
    torch.manual_seed(0)
    return Adversary((3, 8), divergence, penalty, lr, torch.device("cpu"), torch.Generator().manual_seed(1))


def batches(rows=6):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(rows, 3, generator=generator) + 1, torch.randn(rows, 3, generator=generator) - 1


def test_the_logistic_critic_is_the_cross_entropy_of_real_and_fake():
    game, (real, fake) = adversary("logistic"), batches()
    found = {name: [game.critic(row).item() for row in rows] for name, rows in (("real", real), ("fake", fake))}
    of_real = sum(-math.log(1 / (1 + math.exp(-score))) for score in found["real"]) / 6
    of_fake = sum(-math.log(1 - 1 / (1 + math.exp(-score))) for score in found["fake"]) / 6
    cost = sum(-math.log(1 / (1 + math.exp(-score))) for score in found["fake"]) / 6
    assert game.loss(real, fake).item() == pytest.approx(of_real + of_fake, rel=1e-5)
    assert game.cost(fake).item() == pytest.approx(cost, rel=1e-5)


def test_the_wasserstein_critic_is_the_difference_of_mean_scores():
    game, (real, fake) = adversary("wasserstein"), batches()
    scores = [[game.critic(row).item() for row in rows] for rows in (real, fake)]
    assert game.loss(real, fake).item() == pytest.approx(sum(scores[1]) / 6 - sum(scores[0]) / 6, rel=1e-4)
    assert game.cost(fake).item() == pytest.approx(-sum(scores[1]) / 6, rel=1e-5)


def test_the_penalty_is_that_of_the_norm_of_finite_differences():
    torch.manual_seed(3)
    critic = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    places = torch.randn(4, 3, dtype=torch.float64)
    total = 0.0
    for place in places:
        slopes = []
        for axis in range(3):
            step = torch.zeros(3, dtype=torch.float64)
            step[axis] = 1e-6
            slopes.append((critic(place + step) - critic(place - step)).item() / 2e-6)
        total += (math.sqrt(sum(slope**2 for slope in slopes)) - 1) ** 2
    penalty = gradient_penalty(critic, places)
    assert penalty.item() == pytest.approx(total / 4, rel=1e-6)
    penalty.backward()
    weight, before = critic[0].weight, critic[0].weight.grad[1, 2].item()
    values = []
    for step in (1e-6, -1e-6):
        with torch.no_grad():
            weight[1, 2] += step
        values.append(gradient_penalty(critic, places).item())
        with torch.no_grad():
            weight[1, 2] -= step
    assert before == pytest.approx((values[0] - values[1]) / 2e-6, abs=1e-6)


def test_a_linear_critic_of_slope_one_has_no_penalty():
    critic = nn.Linear(3, 1)
    with torch.no_grad():
        critic.weight.copy_(torch.tensor([[0.6, 0.0, 0.8]]))
    assert gradient_penalty(critic, torch.randn(5, 3)).item() == pytest.approx(0, abs=1e-12)


def test_places_lie_between_real_and_fake_coordinate_by_coordinate():
    real, fake = batches(200)
    places = adversary("wasserstein").between(real, fake)
    share = (places - fake) / (real - fake)
    assert ((share > -1e-3) & (share < 1 + 1e-3)).all()
    assert (share[:, 0] - share[:, 1]).abs().max() > 0.5


@pytest.mark.parametrize("divergence", ["logistic", "wasserstein"])
@pytest.mark.parametrize("penalty", [0.0, 10.0])
def test_a_critic_learns_and_leaves_what_it_looks_at_alone(divergence, penalty):
    game, (real, fake) = adversary(divergence, penalty), batches(64)
    fake.requires_grad_()
    before = game.loss(real, fake).item()
    for _ in range(40):
        game.learn(real, fake)
    assert game.loss(real, fake).item() < before - 0.1
    assert fake.grad is None
    game.cost(fake).backward()
    assert fake.grad.abs().sum() > 0
