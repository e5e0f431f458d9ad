"""SODA's two stages: what each may change, what each setting changes, and that they learn."""

import pytest
import torch
from hashzoo_soda.sets import SetSodaTrainer
from hashzoo_soda.trainer import CHOICES, SodaTrainer

from hashzoo import evaluate
from hashzoo.losses import sign
from hashzoo.model import encode
from hashzoo.testing import share, toy_job

SHORT = {"teacher_epochs": 3, "student_epochs": 3}


def map_of(toy, towers):
    image = encode(towers.image, torch.from_numpy(toy.image))
    text = encode(towers.text, torch.from_numpy(toy.text))
    return evaluate(image, text, toy.labels, toy.labels).map


def trained(**settings):
    return SodaTrainer(**SHORT | settings).fit(toy_job().job)


def same(one, other):
    a, b = one.state_dict(), other.state_dict()
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"labels": "vectors"},
        {"join": "mean", "prompt": "{}"},
        {"pairs": "buffers"},
        {"intra": 0.5},
        {"codes": "own"},
        {"student": "free"},
        {"student": "none"},
        {"targets": "soft"},
        {"balanced_pairs": False},
        {"pairs": "buffers", "student": "free", "codes": "own", "intra": 0.5},
    ],
    ids=lambda settings: " ".join(f"{name}={value}" for name, value in settings.items()) or "defaults",
)
def test_every_variant_learns_what_fresh_towers_do_not_know(settings):
    toy = toy_job(rows=300)
    before = map_of(toy, toy.job.towers())
    after = map_of(toy, SodaTrainer(teacher_epochs=15, student_epochs=15, **settings).fit(toy.job))
    assert after > before + 0.2


def test_every_choice_makes_other_towers():
    usual = trained()
    for name, allowed in CHOICES.items():
        for value in set(allowed) - {getattr(SodaTrainer(), name), "prompts"}:
            assert not same(trained(**{name: value}), usual), f"{name}={value}"
    assert same(trained(labels="prompts"), usual)
    assert not same(trained(intra=0.1), usual)


def test_given_features_are_taught_by_label_vectors():
    toy = toy_job(rows=300)
    toy.job.text_inputs = None
    before = map_of(toy, toy.job.towers())
    assert map_of(toy, SodaTrainer(teacher_epochs=15, student_epochs=15).fit(toy.job)) > before + 0.2


@pytest.mark.parametrize("settings", [{}, {"targets": "soft"}, {"pairs": "buffers"}])
def test_stage_two_leaves_the_image_tower_bit_identical(settings):
    assert same(trained(student_epochs=1, **settings).image, trained(student_epochs=9, **settings).image)


def test_a_free_student_moves_the_image_tower_that_the_teacher_left():
    free = trained(student="free")
    assert not same(free.image, trained().image)
    assert same(trained(student="free", student_epochs=0), trained(student_epochs=0))


def test_stage_one_leaves_the_text_tower_as_it_was():
    assert same(trained(student_epochs=0).text, toy_job().job.towers().text)


def test_a_teacher_of_no_epochs_has_learned_nothing():
    assert same(trained(teacher_epochs=0).image, toy_job().job.towers().image)
    assert not same(trained(teacher_epochs=0).text, toy_job().job.towers().text)


def test_without_a_teacher_no_label_is_encoded_and_both_towers_train_for_both_stages():
    toy = toy_job()
    toy.job.text_inputs = None
    fresh = toy_job().job.towers()
    towers = SodaTrainer(student="none", labels="prompts", teacher_epochs=2, student_epochs=1).fit(toy.job)
    assert not same(towers.image, fresh.image)
    assert not same(towers.text, fresh.text)
    assert [(line["stage"], line["epoch"]) for line in toy.lines] == [("joint", 1), ("joint", 2), ("joint", 3)]


@pytest.mark.parametrize("targets", ["codes", "soft"])
def test_the_student_meets_the_codes_or_the_outputs_before_the_sign(targets):
    """With beta alone at work, texts go where the targets are."""
    toy = toy_job(rows=20, bits=4)
    trainer = SodaTrainer(teacher_epochs=0, student_epochs=300, beta=1e4, weight_decay=0, lr=1e-2, targets=targets)
    towers = trainer.fit(toy.job)
    soft, text = encode(towers.image, torch.from_numpy(toy.image)), encode(towers.text, torch.from_numpy(toy.text))
    distances = {"soft": (text - soft).square().mean(), "codes": (text - sign(soft)).square().mean()}
    assert min(distances, key=distances.get) == targets
    assert distances[targets] < 0.01


def test_the_log_names_stage_epoch_and_terms_and_measures_the_teacher():
    toy = toy_job()
    SodaTrainer(teacher_epochs=2, student_epochs=1).fit(toy.job)
    stages = [(line["stage"], line.get("epoch")) for line in toy.lines]
    assert stages == [("teacher", 1), ("teacher", 2), ("teacher", None), ("student", 1)]
    assert all({"likelihood", "binarisation"} <= line.keys() for line in toy.lines if "epoch" in line)
    assert 0 < toy.lines[2]["image_to_label_map"] <= 1


@pytest.mark.parametrize("name", CHOICES)
def test_a_choice_that_there_is_not_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} is .* or {CHOICES[name][-1]}, not 'maybe'"):
        SodaTrainer(**{name: "maybe"})


def test_a_prompt_without_a_place_for_names_is_refused():
    with pytest.raises(ValueError, match="where the label names go"):
        SodaTrainer(prompt="An image.")


@pytest.mark.parametrize("kind", [SodaTrainer, SetSodaTrainer])
def test_students_that_differ_share_a_teacher_and_are_those_that_learn_alone(kind):
    sweep = [{"beta": 0.5}, {"student_epochs": 1}, {"targets": "soft"}, {"targets": "codes"}, {"alpha": 0.5}]
    sweep += [{"student": "free"}, {}] if kind is SodaTrainer else [{"student_contrast": 0.0}, {}]
    alone, together = [toy_job() for _ in sweep], [toy_job() for _ in sweep]
    share(*together)
    for settings, one, other in zip(sweep, alone, together, strict=True):
        towers = [kind(**SHORT | settings).fit(toy.job) for toy in (one, other)]
        assert same(*towers)
        assert one.lines == other.lines
        other.job.common.memo.check()
    assert [toy.job.common.seconds > 0 for toy in together] == [False, True, True, True, False, True, True]
