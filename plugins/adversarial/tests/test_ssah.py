"""SSAH's terms against loops over all pairs of rows, its stages, and that it learns."""

import math

import numpy as np
import pytest
import torch
from hashzoo_adversarial.heads import FeatureHead
from hashzoo_adversarial.ssah import Semantics, SsahTrainer, Views, pair_loss, pair_weights

from hashzoo import evaluate
from hashzoo.model import encode
from hashzoo.testing import toy_job

N, B, WIDTH, BITS, CLASSES = 7, 3, 5, 4, 3
RNG = np.random.default_rng(5)
SETS = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 1]], dtype=float)
OF = np.array([0, 1, 2, 0, 0, 2, 1])  # the set of each training row
ALL_FEATURES, ALL_CODES = RNG.uniform(0, 1, (3, WIDTH)), np.tanh(RNG.normal(size=(3, BITS)))  # of each set
BATCH = np.array([1, 3, 5])
VIEWS = [RNG.uniform(0, 1, (B, WIDTH)), np.tanh(RNG.normal(size=(B, BITS))), RNG.uniform(0, 1, (B, CLASSES))]
CODES = RNG.choice([-1.0, 1.0], size=(B, BITS))
WEIGHTS = {"alpha": 0.7, "gamma": 1.3, "beta": 2.0, "eta": 3.0}


def pair(theta, similar, squared):
    likelihood = math.log(1 / (1 + math.exp(-theta)) if similar else 1 - 1 / (1 + math.exp(-theta)))
    if not squared:
        return -likelihood
    return (0.999 * similar * theta - math.log(1 + math.exp(theta))) ** 2 / 2


def pairs(mine, theirs, squared, balanced):
    """The mean over all rows of the training set and all rows of the batch, one pair after the other."""
    found = {True: [], False: []}
    for j, row in enumerate(BATCH):
        for i in range(N):
            similar = bool(SETS[OF[i]] @ SETS[OF[row]] > 0)
            found[similar].append(pair(mine[j] @ theirs[OF[i]] / 2, similar, squared))
    if balanced:
        return (sum(found[True]) / len(found[True]) + sum(found[False]) / len(found[False])) / 2
    return sum(found[True] + found[False]) / (N * B)


def slow(features, codes, predicted, squared, balanced):
    return (
        0.7 * pairs(features, ALL_FEATURES, squared, balanced)
        + 1.3 * pairs(codes, ALL_CODES, squared, balanced)
        + 2 * np.sum((CODES - codes) ** 2) / (N * B)
        + 3 * np.sum((SETS[OF[BATCH]] - predicted) ** 2) / (N * B)
    )


def tensors(*arrays):
    return [torch.from_numpy(np.array(array)) for array in arrays]


def fast(views, squared, balanced):
    trainer = SsahTrainer(**WEIGHTS, squared=squared, balanced_pairs=balanced)
    counts = np.bincount(OF).astype(float)
    labels, codes, *semantics = tensors(SETS[OF[BATCH]], CODES, ALL_FEATURES, ALL_CODES, SETS, counts, OF)
    return sum(trainer._terms(Views(*views), labels, codes, Semantics(*semantics)).values())


@pytest.mark.parametrize("squared", [False, True])
@pytest.mark.parametrize("balanced", [False, True])
def test_the_loss_and_its_gradient_are_those_written_down(squared, balanced):
    views = [part.requires_grad_() for part in tensors(*VIEWS)]
    loss = fast(views, squared, balanced)
    assert loss.item() == pytest.approx(slow(*VIEWS, squared, balanced), rel=1e-12)
    loss.backward()
    for number, part in enumerate(views):
        for place in ((0, 0), (2, 2)):
            moved = [[array.copy() for array in VIEWS] for _ in range(2)]
            moved[0][number][place] += 1e-6
            moved[1][number][place] -= 1e-6
            slope = (slow(*moved[0], squared, balanced) - slow(*moved[1], squared, balanced)) / 2e-6
            assert part.grad[place].item() == pytest.approx(slope, abs=1e-8)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("similar", [torch.zeros(2, 3), torch.ones(2, 3), torch.eye(2, 3)])
def test_features_that_know_nothing_cost_log_two(similar, balanced):
    weights = pair_weights(similar, torch.tensor([1.0, 5.0, 2.0]), balanced)
    theta = torch.zeros(2, 3)
    assert pair_loss(theta, similar, weights, False).item() == pytest.approx(math.log(2))
    assert pair_loss(theta, similar, weights, True).item() == pytest.approx(math.log(2) ** 2 / 2)


def test_similar_pairs_weigh_as_much_as_all_others_where_pairs_are_balanced():
    similar, counts = torch.eye(2, 3), torch.tensor([1.0, 5.0, 2.0])
    balanced, plain = (pair_weights(similar, counts, choice) for choice in (True, False))
    assert balanced[similar > 0].sum().item() == pytest.approx(0.5)
    assert plain[similar > 0].sum().item() == pytest.approx(6 / 16)
    torch.testing.assert_close(plain[0], counts / 16)


def test_the_likelihood_survives_large_features():
    theta, weights = torch.tensor([[4096.0, -4096.0]]), torch.tensor([[0.5, 0.5]])
    assert pair_loss(theta, torch.tensor([[1.0, 0.0]]), weights, False).item() == pytest.approx(0)
    assert pair_loss(theta, torch.tensor([[0.0, 1.0]]), weights, False).item() == pytest.approx(4096)


def head(widths, bits):
    return FeatureHead(widths, bits, feature=32)


def fitted(toy, **settings):
    """Towers, where the global generator is seeded as in a run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SsahTrainer(**settings).fit(toy.job)


def test_the_label_network_finds_codes_that_tell_which_rows_share_a_label():
    toy = toy_job(rows=150, head=head)
    semantics = SsahTrainer()._learn_labels(toy.job, 32)
    rows = torch.from_numpy(toy.labels).float()
    assert torch.equal(semantics.sets[semantics.of], rows)
    assert torch.equal(semantics.counts, torch.bincount(semantics.of).float())
    assert len(semantics.sets) < 150
    codes = semantics.codes[semantics.of]
    share = (toy.labels.astype(int) @ toy.labels.T > 0).mean()
    assert evaluate(codes, codes, toy.labels, toy.labels).map > share + 0.2
    assert [(line["stage"], line["epoch"]) for line in toy.lines] == [("labels", e) for e in range(1, 41)]


def test_it_learns_and_logs_its_stages():
    toy = toy_job(rows=200, head=head)

    def score(towers):
        codes = encode(towers.image, torch.from_numpy(toy.image)), encode(towers.text, torch.from_numpy(toy.text))
        return evaluate(*codes, toy.labels, toy.labels).map

    before = score(toy.job.towers())
    assert score(fitted(toy, epochs=12)) > before + 0.1
    towers = [line for line in toy.lines if line["stage"] == "towers"]
    assert [line["epoch"] for line in towers] == list(range(1, 13))
    terms = ("features", "codes", "quantisation", "labels", "adversary")
    assert {f"{role}_{term}" for role in ("image", "text") for term in terms} <= towers[0].keys()


@pytest.mark.parametrize(
    "settings",
    [
        *({name: 0.0} for name in ("alpha", "gamma", "beta", "eta", "delta")),
        {"squared": True},
        {"balanced_pairs": False},
    ],
)
def test_every_choice_makes_other_towers(settings):
    short = {"epochs": 2, "label_epochs": 2, "label_hidden": 16}
    one, other = (fitted(toy_job(rows=60, head=head), **short | choice).state_dict() for choice in ({}, settings))
    assert any(not torch.equal(one[name], other[name]) for name in one)
