"""SODA's two stages: what each may change, what the prompts are, and that they learn."""

import math
import re

import pytest
import torch
from hashzoo_soda.trainer import SodaTrainer, label_prompts

from hashzoo import HashzooError, evaluate
from hashzoo.losses import quantisation, sign
from hashzoo.model import encode
from hashzoo.testing import toy_job


def image_to_text_map(toy, towers):
    image = encode(towers.image, torch.from_numpy(toy.image))
    text = encode(towers.text, torch.from_numpy(toy.text))
    return evaluate(image, text, toy.labels, toy.labels).map


def test_both_stages_together_learn_what_neither_knows_at_the_start():
    toy = toy_job(rows=300)
    before = image_to_text_map(toy, toy.job.towers())
    after = image_to_text_map(toy, SodaTrainer(teacher_epochs=15, student_epochs=15).fit(toy.job))
    assert after > before + 0.2


def test_stage_two_leaves_the_image_tower_bit_identical():
    short = SodaTrainer(teacher_epochs=3, student_epochs=1).fit(toy_job().job).image.state_dict()
    long = SodaTrainer(teacher_epochs=3, student_epochs=9).fit(toy_job().job).image.state_dict()
    assert all(torch.equal(short[name], long[name]) for name in short)


def test_stage_one_leaves_the_text_tower_as_it_was():
    toy = toy_job()
    fresh = toy_job().job.towers().text.state_dict()
    trained = SodaTrainer(teacher_epochs=3, student_epochs=0).fit(toy.job).text.state_dict()
    assert all(torch.equal(fresh[name], trained[name]) for name in fresh)


def test_a_prompt_is_encoded_once_for_each_distinct_label_set():
    toy = toy_job()
    asked = []
    encode_texts = toy.job.text_inputs
    toy.job.text_inputs = lambda strings: (asked.extend(strings), encode_texts(strings))[1]
    SodaTrainer(teacher_epochs=1, student_epochs=1).fit(toy.job)
    assert len(asked) == len(set(asked)) == len({tuple(row) for row in toy.labels})
    for row in (0, 7, 42):
        names = [name.replace("_", " ") for name, on in zip(toy.job.classes, toy.labels[row], strict=True) if on]
        assert f"An image of {', '.join(names)}." in asked


def test_prompts_name_the_labels_of_their_set():
    sets = torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    assert label_prompts(sets, ("red_car", "dog", "sky"), "See {}!") == ["See red car, sky!", "See dog!"]


def test_label_vectors_stand_in_for_prompts_where_texts_are_given_features():
    toy = toy_job(rows=300)
    toy.job.text_inputs = None
    before = image_to_text_map(toy, toy.job.towers())
    after = image_to_text_map(toy, SodaTrainer(teacher_epochs=15, student_epochs=15).fit(toy.job))
    assert after > before + 0.2
    with pytest.raises(HashzooError, match=re.escape("set trainer.labels=vectors")):
        SodaTrainer(labels="prompts").fit(toy.job)
    with pytest.raises(ValueError, match="labels is auto, prompts or vectors, not 'names'"):
        SodaTrainer(labels="names")


def test_phi_1_is_log_2_where_theta_is_zero():
    labels = torch.eye(4)
    zero, codes = torch.zeros(4, 8), torch.ones(4, 8)
    for balanced in (True, False):
        loss = SodaTrainer(balanced_pairs=balanced)._likelihood(zero, codes, labels)
        assert loss.item() == pytest.approx(math.log(2))


def test_phi_2_is_zero_exactly_at_codes_and_least_at_the_shared_sign():
    h, g = torch.randn(5, 8), torch.randn(5, 8)
    assert quantisation(sign(h), sign(h)) == 0

    def penalty(codes):
        return (quantisation(h, codes) + quantisation(g, codes)).item()

    best = penalty(sign(h + g))
    for bit in range(8):
        other = sign(h + g)
        other[:, bit] *= -1
        assert penalty(other) > best


def test_the_log_names_stage_epoch_and_terms_and_measures_the_teacher():
    toy = toy_job()
    SodaTrainer(teacher_epochs=2, student_epochs=1).fit(toy.job)
    stages = [(line["stage"], line.get("epoch")) for line in toy.lines]
    assert stages == [("teacher", 1), ("teacher", 2), ("teacher", None), ("student", 1)]
    assert {"likelihood", "binarisation"} <= toy.lines[0].keys()
    assert 0 < toy.lines[2]["image_to_label_map"] <= 1


def test_a_prompt_without_a_place_for_names_is_refused():
    with pytest.raises(ValueError, match="where the label names go"):
        SodaTrainer(prompt="An image.")
