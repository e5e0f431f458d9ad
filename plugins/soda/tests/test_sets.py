"""The contrast over label sets against a slow transcription, and what the stages of soda-sets may change."""

import math

import pytest
import torch
from hashzoo_soda.sets import SetSodaTrainer, set_contrast
from hashzoo_soda.trainer import SodaTrainer

from hashzoo import evaluate
from hashzoo.model import encode
from hashzoo.testing import toy_job

BITS = 4
GENERATOR = torch.Generator().manual_seed(3)
VALUES, ANCHORS = (torch.randn((n, BITS), generator=GENERATOR, dtype=torch.float64) for n in (5, 7))
SIMILARITY = torch.eye(5, 7, dtype=torch.float64) + torch.eye(5, 7, dtype=torch.float64).roll(2, dims=1)
SIMILARITY[0] = 0  # a row that is similar to no set
ROWS_OF = torch.tensor([1, 4, 2, 9, 1, 3, 5])


def every_row(values, anchors, similarity, rows_of, temperature):
    """L_out with each anchor repeated for every row that has its set."""
    losses = []
    for i in range(len(values)):
        logits, positive = [], []
        for p, rows in enumerate(rows_of.tolist()):
            inner = sum(a * b for a, b in zip(values[i].tolist(), anchors[p].tolist(), strict=True))
            logits += [inner / (BITS * temperature)] * rows
            positive += [bool(similarity[i, p])] * rows
        log_sum = math.log(sum(math.exp(logit) for logit in logits))
        chosen = [log_sum - logit for logit, yes in zip(logits, positive, strict=True) if yes]
        losses.append(sum(chosen) / len(chosen) if chosen else 0.0)
    return sum(losses) / len(losses)


def short(**settings):
    return SetSodaTrainer(**{"teacher_epochs": 3, "student_epochs": 3} | settings)


def same(one, other):
    a, b = one.state_dict(), other.state_dict()
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("temperature", [0.1, 0.2, 1.0])
def test_a_set_stands_for_every_row_that_has_it(temperature):
    found = set_contrast(VALUES, ANCHORS, SIMILARITY, ROWS_OF, temperature).item()
    assert found == pytest.approx(every_row(VALUES, ANCHORS, SIMILARITY, ROWS_OF, temperature), rel=1e-12)


def test_gradients_match_finite_differences():
    inputs = VALUES.clone().requires_grad_(), ANCHORS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda h, a: set_contrast(h, a, SIMILARITY, ROWS_OF, 0.2), inputs)


def test_a_row_that_is_similar_to_no_set_has_no_gradient():
    values = VALUES.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(set_contrast(values, ANCHORS, SIMILARITY, ROWS_OF, 0.2), values)
    assert not gradient[0].any()
    assert gradient[1:].any(dim=1).all()


def test_the_order_of_sets_is_nothing_to_the_contrast():
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    moved = set_contrast(VALUES, ANCHORS[order], SIMILARITY[:, order], ROWS_OF[order], 0.2)
    torch.testing.assert_close(moved, set_contrast(VALUES, ANCHORS, SIMILARITY, ROWS_OF, 0.2))


@pytest.mark.parametrize("settings", [{}, {"teacher_contrast": 0}, {"student_contrast": 0}, {"prompts": 2}], ids=str)
def test_every_variant_learns_what_fresh_towers_do_not_know(settings):
    toy = toy_job(rows=300)

    def score(towers):
        image = encode(towers.image, torch.from_numpy(toy.image))
        text = encode(towers.text, torch.from_numpy(toy.text))
        return evaluate(image, text, toy.labels, toy.labels).map

    before = score(toy.job.towers())
    assert score(SetSodaTrainer(teacher_epochs=15, student_epochs=15, **settings).fit(toy.job)) > before + 0.2


def test_without_contrast_and_with_codes_it_is_soda():
    plain = SodaTrainer(teacher_epochs=3, student_epochs=3).fit(toy_job().job)
    assert same(short(teacher_contrast=0, student_contrast=0, targets="codes").fit(toy_job().job), plain)
    for settings in ({"teacher_contrast": 0}, {"student_contrast": 0}, {"targets": "codes"}):
        assert not same(short(**settings).fit(toy_job().job), plain)


def test_stage_two_leaves_the_image_tower_bit_identical():
    short_student, long_student = (short(student_epochs=epochs).fit(toy_job().job) for epochs in (1, 5))
    assert same(short_student.image, long_student.image)
    assert not same(short_student.text, long_student.text)


def test_a_step_meets_the_sets_of_its_batch_and_at_most_as_many_others_as_asked_for():
    toy = toy_job()
    own = torch.tensor([5, 3, 5])
    for prompts in (1, 4):
        met = short(prompts=prompts)._sets_met(own, 40, toy.job)
        assert {3, 5} <= set(met.tolist())
        assert len(met) <= prompts + 2
        assert torch.equal(met, met.unique())
    assert torch.equal(short(prompts=40)._sets_met(own, 40, toy.job), torch.arange(40))


def test_the_contrast_is_logged_in_each_stage_with_its_weight():
    usual, light = toy_job(), toy_job()
    short(teacher_epochs=1, student_epochs=1).fit(usual.job)
    short(teacher_epochs=1, student_epochs=1, teacher_contrast=1e-9, student_contrast=1e-9).fit(light.job)
    for line in (0, 2):  # between them is the measurement of the teacher
        assert {"likelihood", "contrast", "binarisation"} <= usual.lines[line].keys()
        assert 0 < light.lines[line]["contrast"] < 1e-7 < usual.lines[line]["contrast"]


def test_a_temperature_of_zero_is_refused():
    with pytest.raises(ValueError, match="temperature is a number over 0, not 0"):
        SetSodaTrainer(temperature=0)
