"""SKDCH's student against a slow transcription, pseudo labels against a count, and that hidden labels stay hidden."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hashzoo_distill.networks import SigmoidHead
from hashzoo_distill.skdch import SkdchTrainer, pseudo_labels, student_terms

from hashzoo import evaluate
from hashzoo.model import encode
from hashzoo.testing import toy_job

TEACHER = {"teacher_image": {"pooled": 24}, "teacher_text": {"pooled": 16}}
SHORT = {"teacher_hidden": 16, "teacher_epochs": 2, "rounds": 1, "epochs": 2}


def toy(rows=60):
    return toy_job(rows=rows, head=SigmoidHead, widths=TEACHER)


def fitted(job, **settings):
    """Towers, where the global generator is seeded as in a run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return SkdchTrainer(**settings).fit(job)


def same(one, other):
    a, b = one.state_dict(), other.state_dict()
    return all(torch.equal(a[name], b[name]) for name in a)


def slow_student(query, positive, negative, own, margin, gamma):
    def distance(a, b):
        return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))

    def entropy(logit, target):
        p = 1 / (1 + math.exp(-logit))
        return -(target * math.log(p) + (1 - target) * math.log(1 - p))

    total = {"triplet": 0.0, "pull": 0.0, "pairs": 0.0}
    for q, p, n, y in zip(query, positive, negative, own, strict=True):
        similar, dissimilar, between = distance(q, p), distance(q, n), distance(p, n)
        total["triplet"] += max(0.0, margin + similar - 0.5 * (dissimilar + between))
        total["pull"] += 0.02 * max(0.0, 0.1 + similar)
        total["pairs"] += gamma * (entropy(-similar, y) + entropy(-dissimilar, 0.0))
    return {name: value / len(query) for name, value in total.items()}


def test_the_students_loss_and_gradient_are_the_codes():
    rng = np.random.default_rng(0)
    codes = [rng.uniform(size=(4, 6)) for _ in range(3)]
    own = np.array([1.0, 0.0, 0.0, 1.0])
    tensors = [torch.from_numpy(code).requires_grad_(True) for code in codes]
    terms = student_terms(*tensors, torch.from_numpy(own), 0.4, 0.3)
    for name, value in slow_student(*(code.tolist() for code in codes), own.tolist(), 0.4, 0.3).items():
        assert terms[name].item() == pytest.approx(value), name
    sum(terms.values()).backward()
    for number, tensor in enumerate(tensors):
        for place in ((0, 0), (2, 3), (3, 5)):
            moved = [[code.copy() for code in codes] for _ in range(2)]
            moved[0][number][place] += 1e-6
            moved[1][number][place] -= 1e-6
            above, below = (
                sum(slow_student(*(code.tolist() for code in each), own.tolist(), 0.4, 0.3).values()) for each in moved
            )
            assert tensor.grad[place].item() == pytest.approx((above - below) / 2e-6, abs=1e-7)


def test_pseudo_labels_are_those_of_most_labelled_neighbours_in_both_spaces():
    rng = np.random.default_rng(2)
    n, count = 30, 9
    codes = {role: rng.uniform(size=(n, 4)) for role in ("image", "text")}
    labels = np.eye(3)[rng.integers(0, 3, n)]
    rows, hidden = np.arange(0, 20), np.arange(20, 30)
    tensors = {role: torch.from_numpy(code) for role, code in codes.items()}
    known = torch.from_numpy(labels.copy())
    known[hidden] = 7.0
    found = pseudo_labels(tensors, known, torch.from_numpy(rows), torch.from_numpy(hidden), count).numpy()
    for row, given in zip(hidden, found, strict=True):
        voters = set()
        for code in codes.values():
            voters |= set(np.argsort(((code - code[row]) ** 2).sum(axis=1))[:count].tolist())
        votes = Counter(tuple(labels[voter]) for voter in voters if voter < 20)
        assert votes[tuple(given)] == max(votes.values())


def test_a_row_without_a_labelled_neighbour_gets_the_labels_of_the_nearest():
    image = torch.tensor([[0.0], [0.3], [1.0], [1.0]])
    codes = {"image": image, "text": image}
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    found = pseudo_labels(codes, labels, torch.tensor([0, 1]), torch.tensor([2, 3]), 1)
    assert found.tolist() == [[0.0, 1.0], [0.0, 1.0]]


def test_labels_that_are_not_given_change_nothing():
    one, other = toy(), toy()
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    hidden = order[45:]
    other.job.train.labels = one.job.train.labels.clone()
    other.job.train.labels[hidden] = 1 - other.job.train.labels[hidden]
    towers = fitted(one.job, **SHORT)
    assert same(towers, fitted(other.job, **SHORT))
    assert one.lines == other.lines
    given = toy()
    given.job.train.labels = given.job.train.labels.clone()
    given.job.train.labels[order[:45]] = given.job.train.labels[order[:45]].roll(1, dims=0)
    assert not same(towers, fitted(given.job, **SHORT))


def test_nothing_that_is_held_changes_what_is_learned(monkeypatch):
    one, other = toy(), toy()
    towers = fitted(one.job, **SHORT)
    monkeypatch.setattr("hashzoo_distill.neighbours.KEPT", 0)
    monkeypatch.setattr("hashzoo_distill.neighbours.NUMBERS", 300)
    monkeypatch.setattr("hashzoo_distill.networks.WHOLE", 0)
    again = fitted(other.job, **SHORT)
    for name, value in towers.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value)


@pytest.mark.parametrize("labelled", [0.5, 1.0])
def test_it_learns_and_logs_its_stages(labelled):
    made = toy(rows=200)
    before = made.job.towers()
    settings = {"teacher_hidden": 64, "teacher_epochs": 10, "rounds": 2, "epochs": 30, "batch": 64}
    after = fitted(made.job, labelled=labelled, **settings)

    def score(towers):
        codes = encode(towers.image, torch.from_numpy(made.image)), encode(towers.text, torch.from_numpy(made.text))
        return evaluate(*codes, made.labels, made.labels).map

    assert score(after) > score(before) + 0.1
    stages = [(line["stage"], line["epoch"]) for line in made.lines]
    teacher = [("teacher", epoch) for epoch in range(1, 11)] + [("game", 1), ("game", 2)]
    student = [("student", epoch) for epoch in range(1, 31)]
    assert stages == (teacher if labelled < 1 else []) + student


@pytest.mark.parametrize("settings", [{"labelled": 0}, {"labelled": 1.5}, {"neighbours": 0}])
def test_a_bad_value_is_refused(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=f"^{name} is a share"):
        SkdchTrainer(**settings)
