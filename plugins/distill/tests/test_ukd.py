"""UKD's student against a slow transcription, and that labels are never learned from."""

import math

import numpy as np
import pytest
import torch
from hashzoo_distill.ukd import SIMILAR, UkdTrainer, student_terms

from hashzoo import evaluate
from hashzoo.model import encode
from hashzoo.testing import share, toy_job

TEACHER = {"teacher_image": {"pooled": 24}, "teacher_text": {"pooled": 16}}
SHORT = {"teacher_bits": 16, "teacher_hidden": 16, "teacher_epochs": 2, "rounds": 1, "epochs": 2}


def ukd_job(rows=60):
    return toy_job(rows=rows, widths=TEACHER)


def fitted(job, **settings):
    """Towers, where the global generator is seeded as in a run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return UkdTrainer(**settings).fit(job)


def same(one, other):
    a, b = one.state_dict(), other.state_dict()
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("partners", [2, 6])
@pytest.mark.parametrize("balanced", [False, True])
def test_the_students_loss_and_gradient_are_the_codes(balanced, partners, monkeypatch):
    monkeypatch.setattr("hashzoo.losses.WHOLE", 3 * partners)
    monkeypatch.setattr("hashzoo.losses.BLOCK", 3 * partners)
    rng = np.random.default_rng(0)
    values, table = rng.normal(size=(3, 4)), 2 * rng.normal(size=(6, 4))
    near = rng.uniform(size=(3, 6)) < 0.3
    similarity, similar = SIMILAR * near, int(near.sum())
    pairs, gradient = 0.0, np.zeros_like(values)
    for b in range(3):
        for j in range(6):
            weight = 9 / (similar if similarity[b, j] else 18 - similar) if balanced else 1
            theta = values[b] @ table[j] / 2
            error = similarity[b, j] * theta - math.log(1 + math.exp(theta))
            pairs += weight * error**2 / 2
            gradient[b] += weight * error * (similarity[b, j] - 1 / (1 + math.exp(-theta))) * table[j] / 2
    quantisation = sum((math.copysign(1, v) - v) ** 2 / 2 for v in values.flat)
    gradient += 0.7 * (values - np.sign(values))
    h = torch.from_numpy(values).requires_grad_(True)
    terms = student_terms(h, torch.from_numpy(table), torch.from_numpy(near), 0.7, balanced)
    sum(terms.values()).backward()
    assert terms["pairs"].item() == pytest.approx(pairs / 18)
    assert terms["quantisation"].item() == pytest.approx(0.7 * quantisation / 18)
    np.testing.assert_allclose(h.grad.numpy(), gradient / 18, rtol=1e-10)


def test_the_terms_where_their_values_are_known():
    zero, codes = torch.zeros(2, 4), torch.tensor([[1.0, -1.0], [-1.0, -1.0]])
    pairs = student_terms(zero, zero, torch.eye(2) > 0, 1.0, True)["pairs"]
    assert pairs.item() == pytest.approx(math.log(2) ** 2 / 2)
    assert student_terms(codes, codes, torch.ones(2, 2) > 0, 1.0, True)["quantisation"] == 0


def test_labels_change_nothing():
    toy, other = ukd_job(), ukd_job()
    other.job.train.labels = other.job.train.labels.roll(7, dims=0).logical_not().float()
    towers = fitted(toy.job, **SHORT)
    assert same(towers, fitted(other.job, **SHORT))
    assert [line for line in toy.lines if "epoch" in line] == [line for line in other.lines if "epoch" in line]


def test_it_learns_and_logs_its_stages():
    toy = ukd_job(200)
    before = toy.job.towers()
    settings = {"teacher_bits": 32, "teacher_hidden": 64, "teacher_epochs": 10, "rounds": 2, "neighbours": 0.3}
    after = fitted(toy.job, epochs=15, **settings)

    def score(towers):
        codes = encode(towers.image, torch.from_numpy(toy.image)), encode(towers.text, torch.from_numpy(toy.text))
        return evaluate(*codes, toy.labels, toy.labels).map

    assert score(after) > score(before) + 0.05
    stages = [(line["stage"], line.get("epoch")) for line in toy.lines]
    teacher = [("teacher", epoch) for epoch in range(1, 11)] + [("game", 1), ("game", 2), ("game", None)]
    assert stages == teacher + [("student", epoch) for epoch in range(1, 16)]
    (measured,) = (line["neighbour_precision"] for line in toy.lines if "neighbour_precision" in line)
    share = (toy.labels.astype(int) @ toy.labels.T > 0).mean()
    assert measured > share


def test_nothing_that_is_held_changes_what_is_learned(monkeypatch):
    one, other = ukd_job(), ukd_job()
    towers = fitted(one.job, **SHORT)
    monkeypatch.setattr("hashzoo_distill.neighbours.KEPT", 0)
    monkeypatch.setattr("hashzoo_distill.networks.WHOLE", 0)
    monkeypatch.setattr("hashzoo_distill.adversary.NUMBERS", 0)
    again = fitted(other.job, **SHORT)
    for name, value in towers.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], value)


def test_students_of_all_lengths_share_a_teacher_and_are_those_that_learn_alone():
    sweep = [(8, {}), (16, {"beta": 0.1}), (8, {"similarity": "image"}), (8, {"rounds": 2})]
    alone, together = ([toy_job(bits=bits, rows=60, widths=TEACHER) for bits, _ in sweep] for _ in range(2))
    share(*together)
    for (_, settings), one, other in zip(sweep, alone, together, strict=True):
        assert same(*(fitted(toy.job, **SHORT | settings) for toy in (one, other)))
        assert one.lines == other.lines
        other.job.common.memo.check()
    assert [toy.job.common.seconds > 0 for toy in together] == [False, True, True, False]


@pytest.mark.parametrize(
    "settings", [{"similarity": "image"}, {"graph": 1}, {"intra": 0.0}, {"neighbours": 0.3}, {"balanced_pairs": False}]
)
def test_every_choice_makes_other_towers(settings):
    assert not same(
        fitted(ukd_job().job, **SHORT | settings),
        fitted(ukd_job().job, **SHORT),
    )


@pytest.mark.parametrize("settings", [{"similarity": "both"}, {"neighbours": 0}, {"graph": 0}])
def test_a_bad_value_is_refused(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=f"^{name} is "):
        UkdTrainer(**settings)
