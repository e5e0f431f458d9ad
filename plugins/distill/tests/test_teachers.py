"""Triplets, neighbours, and the terms of both teachers against slow transcriptions of the papers' formulas."""

import math

import numpy as np
import pytest
import torch
from hashzoo_distill.neighbours import NearestRows, Relation, neighbours
from hashzoo_distill.networks import CodeNetworks, Features
from hashzoo_distill.skdch import SchGan
from hashzoo_distill.triplets import Triplets
from hashzoo_distill.ukd import Ugach

from hashzoo import HashzooError
from hashzoo.testing import toy_job

ROWS, BITS, CLASSES = 10, 5, 3
SETTINGS = {"bits": BITS, "hidden": 7, "epochs": 1, "rounds": 1, "batch": 4, "lr": 1e-3, "weight_decay": 0.0}
QUERY = torch.tensor([[1], [4], [7]])
POSITIVE = torch.tensor([[1, 2], [9, 4], [0, 3]])
NEGATIVE = torch.tensor([[5, 6], [0, 8], [2, 2]])


@pytest.fixture
def features():
    rng = np.random.default_rng(0)
    return {role: torch.from_numpy(rng.normal(size=(ROWS, width))) for role, width in (("image", 6), ("text", 4))}


@pytest.fixture
def networks(features):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return CodeNetworks(features, BITS, 7, classes=CLASSES).double()


def teachers():
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(2, (ROWS, CLASSES), generator=generator).double()
    labelled = torch.tensor([True] * 6 + [False] * 4)
    ugach = Ugach(margin=1.5, intra=0.3, candidates=2, **SETTINGS)
    return ugach, SchGan(1.5, 0.2, labels, labelled, candidates=2, **SETTINGS)


def slow_code(networks, role, row):
    """sigmoid(W2 tanh(W1 x + b1) + b2) of one row, and its hidden layer."""
    head = networks.heads[role]
    x = networks.features[role][row].tolist()

    def layer(module, values):
        rows = zip(module.weight.tolist(), module.bias.tolist(), strict=True)
        return [sum(w * v for w, v in zip(weights, values, strict=True)) + bias for weights, bias in rows]

    hidden = [math.tanh(v) for v in layer(head.first, x)]
    return [1 / (1 + math.exp(-v)) for v in layer(head.last, hidden)], layer(networks.labels[role], hidden)


def slow_distance(networks, role, row, other, partner):
    u, v = slow_code(networks, role, row)[0], slow_code(networks, other, partner)[0]
    return sum((a - b) ** 2 for a, b in zip(u, v, strict=True))


def slow_entropy(logit, target):
    p = 1 / (1 + math.exp(-logit))
    return -(target * math.log(p) + (1 - target) * math.log(1 - p))


def slow_triplets(networks, other):
    """d+ and d- of every triplet, with what it is of."""
    for q, positives, negatives in zip(QUERY[:, 0].tolist(), POSITIVE.tolist(), NEGATIVE.tolist(), strict=True):
        for p, n in zip(positives, negatives, strict=True):
            yield q, p, slow_distance(networks, "image", q, other, p), slow_distance(networks, "image", q, other, n)


def check_gradient(networks, loss):
    """The gradient for some parameters, by central differences."""
    parameters = [networks.heads["image"].first.weight, networks.heads["text"].last.bias]
    gradients = torch.autograd.grad(loss(), parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        place = (0,) * parameter.dim()
        with torch.no_grad():
            parameter[place] += 1e-6
            above = loss().item()
            parameter[place] -= 2e-6
            below = loss().item()
            parameter[place] += 1e-6
        assert gradient[place].item() == pytest.approx((above - below) / 2e-6, abs=1e-7)


def test_the_discriminator_of_ugach_is_a_hinge_over_cross_and_intra_modal_triplets(networks):
    teacher = teachers()[0]
    terms = teacher.discriminator_terms(networks, "image", "text", QUERY, POSITIVE, NEGATIVE)
    cross = [max(0.0, 1.5 + similar - dissimilar) for *_, similar, dissimilar in slow_triplets(networks, "text")]
    intra = [max(0.0, 1.5 + similar - dissimilar) for *_, similar, dissimilar in slow_triplets(networks, "image")]
    assert terms["triplet"].item() == pytest.approx(sum(cross) / len(cross))
    assert terms["intra"].item() == pytest.approx(0.3 * sum(intra) / len(intra))
    check_gradient(
        networks,
        lambda: sum(teacher.discriminator_terms(networks, "image", "text", QUERY, POSITIVE, NEGATIVE).values()),
    )


def test_the_discriminator_of_skdch_adds_whether_rows_are_one_pair(networks):
    teacher = teachers()[1]
    terms = teacher.discriminator_terms(networks, "image", "text", QUERY, POSITIVE, NEGATIVE)
    slow = list(slow_triplets(networks, "text"))
    expected = [max(0.0, 1.5 + similar - dissimilar) for *_, similar, dissimilar in slow]
    pairs = [slow_entropy(-similar, q == p) + slow_entropy(-dissimilar, 0) for q, p, similar, dissimilar in slow]
    assert terms["triplet"].item() == pytest.approx(sum(expected) / len(slow))
    assert terms["pairs"].item() == pytest.approx(0.2 * sum(pairs) / len(slow))
    check_gradient(
        networks,
        lambda: sum(teacher.discriminator_terms(networks, "image", "text", QUERY, POSITIVE, NEGATIVE).values()),
    )


def test_rewards_are_those_of_the_codes():
    similar, dissimilar = torch.tensor([0.5, 0.2]), torch.tensor([1.0, 4.0])
    ugach, schgan = teachers()
    sigmoid = 1 / (1 + math.exp(-1.0))
    assert ugach.reward(similar, dissimilar).tolist() == pytest.approx([sigmoid, 0.5])
    assert schgan.reward(similar, dissimilar).tolist() == pytest.approx([10**-1.0, 10**-2.3])


@pytest.mark.parametrize("number", [0, 1], ids=["ugach", "skdch"])
def test_the_generators_terms(networks, number):
    teacher = teachers()[number]
    reward = torch.tensor([[0.5, 0.7], [0.9, 0.6], [0.2, 0.8]], dtype=torch.float64)
    choice = []
    for q, negatives, rewards in zip(QUERY[:, 0].tolist(), NEGATIVE.tolist(), reward.tolist(), strict=True):
        weights = [math.exp(-slow_distance(networks, "image", q, "text", n)) for n in negatives]
        for weight, r in zip(weights, rewards, strict=True):
            p = weight / sum(weights)
            choice.append(-math.log(p) * r if number == 0 else abs(p - r))

    def terms():
        return teacher.generator_terms(networks, "image", "text", QUERY, NEGATIVE, reward)

    assert terms()["choice"].item() == pytest.approx(sum(choice) / len(choice))
    if number == 1:
        expected = 0.0
        for role, rows in (("image", QUERY), ("text", NEGATIVE)):
            known = [row for row in rows.flatten().tolist() if row < 6]
            logits = [slow_code(networks, role, row)[1] for row in known]
            entropies = [
                slow_entropy(logit, target)
                for row, values in zip(known, logits, strict=True)
                for logit, target in zip(values, teacher.labels[row].tolist(), strict=True)
            ]
            expected += sum(entropies) / len(entropies)
        assert terms()["labels"].item() == pytest.approx(expected)
    check_gradient(networks, lambda: sum(terms().values()))


def related(similar):
    return lambda places: similar[places]


def test_triplets_hold_what_is_known_and_nothing_else():
    rows = torch.tensor([0, 2, 5, 8, 9])
    similar = torch.tensor([[0, 1, 0, 0, 0], [1, 0, 0, 0, 0], [0, 0, 0, 1, 1], [0, 0, 1, 0, 0], [1, 1, 1, 1, 0]]) > 0
    triplets = Triplets(rows, related(similar), ROWS, torch.Generator().manual_seed(0))
    known = {0: {0, 2}, 2: {0, 2}, 5: {5, 8, 9}, 8: {5, 8}}
    everyone, seen = torch.arange(ROWS), []
    for queries in triplets.batches(2):
        positive, negative = queries.positives(40), queries.negatives(40)
        flags = queries.are_positives(everyone.expand(len(queries.rows), ROWS))
        for q, drawn, others, flag in zip(queries.rows.tolist(), positive, negative, flags, strict=True):
            assert set(drawn.tolist()) == known[q] == set(everyone[flag].tolist())
            assert set(others.tolist()) == set(rows.tolist()) - known[q]
            seen.append(q)
    assert sorted(seen) == [0, 2, 5, 8], "row 9 is similar to all"


def test_rows_that_are_drawn_in_parts_are_the_same(monkeypatch):
    similar = torch.rand(ROWS, ROWS, generator=torch.Generator().manual_seed(1)) < 0.4
    found = []
    for numbers in (2**26, 3 * ROWS):
        monkeypatch.setattr("hashzoo_distill.neighbours.NUMBERS", numbers)
        triplets = Triplets(torch.arange(ROWS), related(similar), ROWS, torch.Generator().manual_seed(0))
        found.append([torch.cat([q.positives(5), q.negatives(5)], dim=1) for q in triplets.batches(ROWS)])
    assert torch.equal(found[0][0], found[1][0])


def test_rows_that_are_all_similar_make_no_triplets():
    with pytest.raises(HashzooError, match="give more rows"):
        Triplets(torch.arange(3), related(torch.ones(3, 3, dtype=torch.bool)), 3, torch.Generator())


def test_a_generator_chooses_by_distance_and_spares_positives(features):
    similar = torch.zeros(ROWS, ROWS, dtype=torch.bool)
    similar[0, 1] = True
    triplets = Triplets(torch.arange(ROWS), related(similar), ROWS, torch.Generator().manual_seed(0))
    codes = torch.full((ROWS, 2), 40.0)
    codes[:3] = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 0.1]])
    teacher = Ugach(margin=1, intra=0, candidates=1, **SETTINGS)
    (queries,) = (queries for queries in triplets.batches(1) if queries.rows == 0)
    free = torch.cat([teacher._choose((codes, codes), queries, spare_positives=False) for _ in range(200)])
    spared = torch.cat([teacher._choose((codes, codes), queries, spare_positives=True) for _ in range(200)])
    assert (free < 2).float().mean() > 0.5
    assert (spared != 0).all(), "a row is similar to itself"
    assert (spared != 1).all()
    assert (spared == 2).float().mean() > 0.5


@pytest.mark.parametrize("numbers", [20, 2**26])  # blocks of two rows, or all
def test_neighbours_are_the_nearest_of_any_space(features, numbers, monkeypatch):
    monkeypatch.setattr("hashzoo_distill.neighbours.NUMBERS", numbers)
    everyone = torch.arange(ROWS)
    found = neighbours([*features.values()], 3, everyone)
    for row in range(ROWS):
        expected = set()
        for space in features.values():
            distances = [((space[row] - partner) ** 2).sum().item() for partner in space]
            expected |= set(np.argsort(distances)[:3].tolist())
        assert set(found[row].nonzero().flatten().tolist()) == expected
    assert torch.equal(neighbours([*features.values()], 3, torch.tensor([4, 2])), found[[4, 2]])
    assert neighbours([*features.values()], ROWS, everyone).all()
    asked = NearestRows([*features.values()], 3)
    for rows in ([4, 2], [2, 9, 4, 0], [0]):
        assert torch.equal(asked(torch.tensor(rows)), found[rows])
    assert NearestRows([*features.values()], ROWS + 1)(everyone).all()


@pytest.mark.parametrize("kept", [0, 2**33])
def test_a_relation_tells_the_rows_that_it_is_asked_for(kept, monkeypatch):
    monkeypatch.setattr("hashzoo_distill.neighbours.KEPT", kept)
    whole, asked = torch.rand(37, 37, generator=torch.Generator().manual_seed(1)) < 0.3, []

    def related(rows):
        asked.append(len(rows))
        return whole[rows]

    relation = Relation(related, 37)
    for rows in ([3, 36, 3], [0]):
        assert torch.equal(relation(torch.tensor(rows)), whole[rows])
    assert asked == ([37] if kept else [3, 1])


def test_features_are_standardised_as_they_are_taken():
    job = toy_job(rows=50, widths={"teacher_image": {"pooled": 24}}).job
    rows = torch.tensor([[3, 49], [0, 3]])
    everyone = job.standardised("teacher_image")(job.train.extra("teacher_image", torch.arange(50)))
    features = Features(job, "teacher_image")
    assert features.shape == everyone.shape
    assert torch.equal(features[rows], everyone[rows])
