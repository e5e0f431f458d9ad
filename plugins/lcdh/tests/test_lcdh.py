"""LCDH's two stages, what each setting changes, what a chunk may see, and what is reported of cost."""

from functools import partial

import pytest
import torch
from hashzoo_lcdh.replay import Anchors, WithAnchors
from hashzoo_lcdh.teacher import Teacher
from hashzoo_lcdh.trainer import LcdhTrainer
from torch import nn

from hashzoo import Encoder, Towers, evaluate
from hashzoo.cost import multiply_accumulates, parameters
from hashzoo.model import HashHead, Tower, encode
from hashzoo.testing import share, toy_job, toy_stream

SMALL = {"width": 16, "heads": 2, "teacher_epochs": 2, "student_epochs": 2}


def linear(widths, bits):
    return HashHead(widths, bits, hidden=0)


LCDH = {"head": linear, "widths": {"teacher_image": {"pooled": 20}, "teacher_text": {"pooled": 10}}}


def lcdh_job(rows=200, seed=0):
    return toy_job(rows=rows, seed=seed, **LCDH)


def map_of(toy, towers):
    image, text = encode(towers.image, torch.from_numpy(toy.image)), encode(towers.text, torch.from_numpy(toy.text))
    return evaluate(image, text, toy.labels, toy.labels).map


def fitted(**settings):
    torch.manual_seed(0)
    toy = lcdh_job()
    return LcdhTrainer(**SMALL | settings).fit(toy.job), toy.lines


def same(one, other):
    a, b = one.state_dict(), other.state_dict()
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    "settings",
    [{}, {"teacher": "none"}, {"fusion_layers": 0}, {"attention": False}],
    ids=["defaults", "no teacher", "no fusion", "no attention"],
)
def test_every_ablation_learns_what_fresh_towers_do_not_know(settings):
    torch.manual_seed(0)
    toy = lcdh_job(rows=300)
    before = map_of(toy, toy.job.towers())
    trainer = LcdhTrainer(width=32, teacher_epochs=10, student_epochs=15, lr=3e-3, **settings)
    assert map_of(toy, trainer.fit(toy.job)) > before + 0.2


def test_every_setting_makes_other_towers():
    usual, _ = fitted()
    assert same(fitted()[0], usual)
    changes = {"lambda1": 0.1, "lambda2": 1.0, "teacher": "none", "fusion_layers": 0, "attention": False}
    changes |= {"contrast": 1.0, "quantisation": 1.0, "balanced_pairs": False, "teacher_epochs": 1}
    for name, value in changes.items():
        assert not same(fitted(**{name: value})[0], usual), name


def test_without_a_teacher_none_is_trained_or_counted():
    _, lines = fitted(teacher="none")
    assert {line["stage"] for line in lines} == {"student"}


def test_the_student_does_not_move_the_teacher():
    toys = [lcdh_job(), lcdh_job()]
    teachers = []
    for toy, epochs in zip(toys, (1, 4), strict=True):
        torch.manual_seed(0)
        trainer = LcdhTrainer(**SMALL | {"student_epochs": epochs})
        trainer.fit(toy.job)
        teachers.append(trainer._teacher)
    assert same(*teachers)


def test_students_that_differ_share_a_teacher_and_are_those_that_learn_alone():
    sweep = [{"lambda1": 0.1}, {"lambda2": 1.0}, {"student_epochs": 1}, {"contrast": 1.0}]
    toys = [lcdh_job() for _ in sweep]
    share(*toys)
    for settings, toy in zip(sweep, toys, strict=True):
        torch.manual_seed(0)
        towers = LcdhTrainer(**SMALL | settings).fit(toy.job)
        expected, lines = fitted(**settings)
        assert same(towers, expected)
        assert [line | {"seconds": 0} for line in toy.lines] == [line | {"seconds": 0} for line in lines]
        toy.job.common.memo.check()
    assert [toy.job.common.seconds > 0 for toy in toys] == [False, True, True, False]


@pytest.mark.parametrize(("teacher", "moves"), [("every", True), ("first", False)])
def test_a_teacher_goes_on_learning_or_stays_as_the_first_chunk_left_it(teacher, moves):
    trainer, states = LcdhTrainer(**SMALL, teacher=teacher), []
    for toy in toy_stream(2, 60, **LCDH):
        trainer.partial_fit(toy.job)
        states.append({name: value.clone() for name, value in trainer._teacher.state_dict().items()})
    assert any(not torch.equal(states[0][name], states[1][name]) for name in states[0]) == moves


def test_a_chunk_and_the_anchors_are_all_that_is_learned_from():
    toys = toy_stream(3, 40, **LCDH)
    trainer, seen = LcdhTrainer(**SMALL, replay=5), []
    assert (trainer.bounded_state, LcdhTrainer().bounded_state) == (False, True)
    teach = trainer._teach

    def watched(job, teacher):
        seen.append(job.train)
        teach(job, teacher)

    trainer._teach = watched
    for toy in toys:
        trainer.partial_fit(toy.job)
    assert [len(rows) for rows in seen] == [40, 45, 50]
    kept, taught = (take(torch.arange(40, 50)) for take in (seen[-1].image, partial(seen[-1].extra, "teacher_text")))
    for toy, rows, others in zip(toys, kept.split(5), taught.split(5), strict=False):
        assert all((torch.from_numpy(toy.image) == row).all(dim=1).any() for row in rows)
        assert all((torch.from_numpy(toy.extra["teacher_text"]) == row).all(dim=1).any() for row in others)


def test_rows_with_anchors_are_those_of_the_chunk_and_then_the_anchors():
    old, new = lcdh_job(rows=30, seed=1), lcdh_job(rows=20, seed=2)
    anchors = Anchors(4, ["teacher_image"])
    anchors.take(old.job.train, old.job.generator)
    rows = WithAnchors(new.job.train, anchors)
    batch = rows.batch(torch.tensor([21, 3, 23, 0]))
    new_batch = new.job.train.batch(torch.tensor([3, 0]))
    pairs = {name: (getattr(batch, name), getattr(new_batch, name)) for name in ("image", "text", "labels")}
    taught = [made.extra("teacher_image", one.index) for made, one in ((rows, batch), (new.job.train, new_batch))]
    for name, (found, expected) in (pairs | {"teacher_image": taught}).items():
        torch.testing.assert_close(found[[1, 3]], expected)
        torch.testing.assert_close(found[[0, 2]], anchors.parts[name][[1, 3]])
    kept = {name: part[0] for name, part in anchors.parts.items()}
    row = next(number for number in range(30) if torch.equal(torch.from_numpy(old.image[number]), kept["image"]))
    assert torch.equal(torch.from_numpy(old.text[row]), kept["text"])
    assert torch.equal(torch.from_numpy(old.extra["teacher_image"][row]), kept["teacher_image"])
    assert torch.equal(old.job.train.labels[row], kept["labels"])


def test_what_the_teacher_says_follows_from_both_items_of_a_pair():
    torch.manual_seed(0)
    toy = lcdh_job()
    image, text = (torch.from_numpy(toy.extra[role][:4]) for role in ("teacher_image", "teacher_text"))
    teacher = Teacher(toy.job, 16, width=16, heads=2, layers=1, attention=True)
    codes = teacher(image, text)
    assert codes.shape == (4, 16)
    for changed in (teacher(image.flip(0), text), teacher(image, text.flip(0))):
        assert not torch.allclose(changed, codes)
    met, unmet = (Teacher(toy.job, 16, 16, 2, layers, attention=False) for layers in (1, 0))
    for model, meets in ((met, True), (unmet, False)):
        moved = model.tokens(image, text.flip(0))[:, 0] - model.tokens(image, text)[:, 0]
        assert (moved.abs().max() > 1e-6) == meets


class Linear(Encoder):
    """An encoder that can be trained along: the images of a toy job are its prepared items."""

    modality, dim = "image", 12

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(24, self.dim)

    def prepare(self, item):
        raise NotImplementedError

    def forward(self, x):
        return self.layer(x)

    def card(self):
        return {}


def test_the_students_encoder_is_trained_along():
    torch.manual_seed(0)
    toy, made = lcdh_job(), []
    frozen = toy.job.towers

    def towers():
        encoder, widths = Linear(), {"pooled": Linear.dim}
        made.append((encoder, encoder.layer.weight.detach().clone()))
        return Towers(Tower(linear(widths, toy.job.bits), widths, encoder), frozen().text)

    toy.job.towers, toy.job.widths = towers, toy.job.widths | {"image": {"pooled": Linear.dim}}
    found = LcdhTrainer(**SMALL).fit(toy.job)
    ((encoder, before),) = made
    assert found.image.encoder is encoder
    assert not torch.equal(encoder.layer.weight, before)
    student = next(line for line in toy.lines if line["stage"] == "student" and "macs" in line)
    assert student["macs"] == 24 * 12 + (12 + 16) * 16


def test_costs_are_those_counted_by_hand():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 5 * 5, 7))
    assert parameters(model) == 8 * 3 * 9 + 8 + 200 * 7 + 7
    assert multiply_accumulates(model, torch.zeros(2, 3, 5, 5)) == 2 * (25 * 8 * 27 + 200 * 7)
    assert model.training
    _, lines = fitted()
    costs = {line["stage"]: line for line in lines if "macs" in line}
    student = (24 + 16) * 16
    assert (costs["student"]["parameters"], costs["student"]["macs"]) == (student + 2 * 16, student)
    tokens, layer, gate, code = (20 + 10) * 16, 2 * (3 + 1 + 4) * 16 * 16, 2 * 32 * 4, 32 * 16
    assert costs["teacher"]["macs"] == tokens + layer + gate + code
    assert all(line["seconds"] >= 0 for line in costs.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"teacher": "old"}, "teacher is every, first or none, not 'old'"),
        ({"width": 30}, "width is a multiple of heads, and 30 is none of 4"),
        ({"temperature": 0.0}, "temperature is a number over 0, not 0"),
        ({"replay": -1}, "replay and fusion_layers are 0 or more"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LcdhTrainer(**settings)
