"""What the label tower sees: prompts, joined or averaged, and vectors."""

import re

import pytest
import torch
from hashzoo_soda.prompts import MeanOfPrompts, label_prompts, label_side
from hashzoo_soda.trainer import SodaTrainer

from hashzoo import HashzooError
from hashzoo.encoders.base import Encoder
from hashzoo.model import HashHead, Tower
from hashzoo.testing import toy_job

CLASSES = ("red_car", "dog", "sky")
SETS = torch.tensor([[1.0, 0, 1], [0, 1, 0]])


class Lengths(Encoder):
    """A text encoder that can be trained: three numbers a string."""

    modality, dim = "text", 4

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.linspace(-1, 1, 12).reshape(3, 4))

    def prepare(self, item):
        return torch.tensor([len(item), item.count("_"), 1], dtype=torch.int64)

    def forward(self, x):
        return x.float() @ self.weight


def counted(job):
    """The strings that a job's text encoder will be asked for."""
    asked, encode_texts = [], job.text_inputs
    job.text_inputs = lambda strings: (asked.extend(strings), encode_texts(strings))[1]
    return asked


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("An image of {}.", ["An image of red car, sky.", "An image of dog."]),
        ("{}", ["red car, sky", "dog"]),
        ("A {photo} of {}", ["A {photo} of red car, sky", "A {photo} of dog"]),
    ],
)
def test_prompts_name_the_labels_of_their_set(prompt, expected):
    assert label_prompts(SETS, CLASSES, prompt) == expected


def test_a_prompt_is_encoded_once_for_each_distinct_label_set():
    toy = toy_job()
    asked = counted(toy.job)
    SodaTrainer(teacher_epochs=2, student_epochs=1).fit(toy.job)
    assert len(asked) == len(set(asked)) == len({tuple(row) for row in toy.labels})
    for row in (0, 7, 42):
        names = [name.replace("_", " ") for name, on in zip(toy.job.classes, toy.labels[row], strict=True) if on]
        assert f"An image of {', '.join(names)}." in asked


def test_a_prompt_of_its_own_is_encoded_once_for_each_label():
    toy = toy_job()
    asked = counted(toy.job)
    SodaTrainer(teacher_epochs=2, student_epochs=1, join="mean").fit(toy.job)
    assert asked == [f"An image of {name.replace('_', ' ')}." for name in toy.job.classes]


def test_the_head_sees_the_mean_of_the_embeddings_of_a_set():
    job = toy_job(classes=3).job
    job.classes = CLASSES
    tower, inputs = label_side(job, SETS, "prompts", "{}", "mean")
    one, two, three = job.text_inputs(["red car", "dog", "sky"])
    expected = tower.tower(torch.stack([(one + three) / 2, two]))
    torch.testing.assert_close(tower(inputs), expected)
    unlabelled = tower(torch.zeros(1, 3))
    torch.testing.assert_close(unlabelled, tower.tower.head({"pooled": torch.zeros(1, 16)}))


def test_an_encoder_that_is_trained_along_is_reached_through_the_mean():
    prompts = torch.stack([Lengths().prepare(name) for name in CLASSES])
    tower = MeanOfPrompts(Tower(HashHead({"pooled": 4}, 8), {"pooled": 4}, Lengths()), prompts)
    codes = tower(torch.tensor([[0.5, 0, 0.5]]))
    both = (Lengths()(prompts)[0] + Lengths()(prompts)[2]) / 2
    torch.testing.assert_close(codes, tower.tower.head({"pooled": both[None]}))
    codes.sum().backward()
    assert tower.tower.encoder.weight.grad.abs().sum() > 0


def test_label_vectors_need_no_text_encoder_and_prompts_do():
    job = toy_job().job
    asked = counted(job)
    sets = torch.eye(6)
    tower, inputs = label_side(job, sets, "vectors", "{}", "joined")
    assert inputs is sets
    assert tower(inputs).shape == (6, 16)
    assert not asked
    job.text_inputs = None
    assert label_side(job, sets, "auto", "{}", "joined")[1] is sets
    with pytest.raises(HashzooError, match=re.escape("set trainer.labels=vectors")):
        label_side(job, sets, "prompts", "{}", "joined")


def knows(job, count):
    """Let the job's text encoder tell the first strings that it is asked for apart, and take the others for alike."""
    width = job.widths["text"]["pooled"]
    job.text_inputs = lambda strings: torch.eye(len(strings), width) * (torch.arange(len(strings))[:, None] < count)
    return job


@pytest.mark.parametrize("join", ["joined", "mean"])
@pytest.mark.parametrize(("count", "prompts"), [(0, False), (1, False), (2, True), (6, True)])
def test_vectors_are_taken_where_most_prompts_are_alike(join, count, prompts):
    job = knows(toy_job().job, count)
    made = [label_side(job, torch.eye(6), labels, "{}", join)[0] for labels in ("auto", "prompts", "vectors")]
    widths = [next(tower.parameters()).shape[1] for tower in made]
    assert widths == [16 if prompts else 6, 16, 6]


def test_a_text_encoder_that_knows_no_label_name_teaches_as_vectors_do():
    states = []
    for labels in ("auto", "vectors"):
        torch.manual_seed(0)
        trainer = SodaTrainer(teacher_epochs=2, student_epochs=2, labels=labels)
        states.append(trainer.fit(knows(toy_job().job, 0)).state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
