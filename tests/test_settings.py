"""Typed settings: splitting, types, origins, suggestions."""

from __future__ import annotations

import pytest

from hashzoo.errors import HashzooError, did_you_mean
from hashzoo.settings import Assignment, Value, convert, keywords, parse_assignments, plain, resolve


class Part:
    def __init__(
        self,
        widths: dict,
        bits: int,
        lr: float = 0.1,
        epochs: int = 5,
        name: str = "a",
        balanced: bool = False,
        steps: tuple[int, ...] = (1, 2),
        limit: int | None = None,
        free=1.5,
        **others: object,
    ):
        pass


def set_(*texts: str) -> list[Assignment]:
    return parse_assignments(texts, ["soda", "dcmh"])


def test_assignments_are_split_at_the_first_equals_sign():
    assert set_("trainer.lr = 1e-3 ", "soda.text.prompt=a=b.c") == [
        Assignment(None, "trainer", "lr", "1e-3"),
        Assignment("soda", "text", "prompt", "a=b.c"),
    ]
    assert set_("soda.text.prompt=x")[0].path == "soda.text.prompt"
    assert set_("dataset.size=64") == [Assignment(None, "dataset", "size", "64")]


def test_a_later_assignment_to_the_same_path_wins_and_stands_later():
    assert [a.text for a in set_("trainer.lr=1", "trainer.epochs=2", "trainer.lr=3")] == ["2", "3"]
    assert len(set_("trainer.lr=1", "soda.trainer.lr=2")) == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trainer.lr", "'trainer.lr' is not a setting; write it as trainer.lr=0.001"),
        ("lr=1", "is not a setting"),
        ("a.b.c.d=1", "is not a setting"),
        (".lr=1", "is not a setting"),
        ("", "is not a setting"),
        ("trianer.lr=1", "'trianer' in 'trianer.lr=1' is no section; did you mean trainer?"),
        ("resnet.trainer.lr=1", "for a method that was not asked for; choose from: dcmh, soda"),
        ("sodaa.trainer.lr=1", "did you mean soda?"),
        ("soda.dataset.size=1", "'dataset' in 'soda.dataset.size=1' is no section"),
    ],
)
def test_what_is_no_setting(text, said):
    with pytest.raises(HashzooError) as refused:
        set_(text)
    assert said in str(refused.value)
    assert refused.value.exit_code == 2


def test_keywords_are_those_with_a_default_that_the_core_does_not_pass():
    assert list(keywords(Part, given=("bits", "name"))) == ["lr", "epochs", "balanced", "steps", "limit", "free"]


def test_defaults_then_recipe_then_user():
    values = resolve(
        "trainer",
        Part,
        {"trainer.lr": 0.2, "trainer.epochs": 7, "text.lr": 9},
        [*set_("trainer.epochs=8", "text.free=0", "trainer.free=2")],
    )
    assert values["lr"] == Value(0.2, "method")
    assert values["epochs"] == Value(8, "user")
    assert values["name"] == Value("a", "default")
    assert values["free"] == Value(2.0, "user")
    assert plain(values)["steps"] == (1, 2)


def test_a_setting_that_the_recipe_invents_is_the_plugins_fault():
    with pytest.raises(
        HashzooError, match=r"the method sets trainer.epoch, which Part does not have.*epochs"
    ) as refused:
        resolve("trainer", Part, {"trainer.epoch": 1}, [])
    assert refused.value.exit_code == 1


def test_a_setting_that_the_user_invents():
    with pytest.raises(
        HashzooError, match=r"Part has no setting 'trainer.epoch'; did you mean trainer.epochs\?"
    ) as refused:
        resolve("trainer", Part, {}, set_("trainer.epoch=1"))
    assert refused.value.exit_code == 2


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("lr", "1e-3", 0.001),
        ("lr", "3", 3.0),
        ("epochs", "12", 12),
        ("name", "1e-3", "1e-3"),
        ("name", "", ""),
        ("balanced", "True", True),
        ("balanced", "false", False),
        ("steps", "4,5", (4, 5)),
        ("steps", "", ()),
        ("limit", "none", None),
        ("limit", "3", 3),
        ("free", "2", 2.0),
    ],
)
def test_values_take_the_type_of_the_keyword(key, text, value):
    found = resolve("loss", Part, {}, set_(f"loss.{key}={text}"))[key]
    assert found == Value(value, "user")
    assert type(found.value) is type(value)


@pytest.mark.parametrize(
    ("key", "text", "said"),
    [
        ("epochs", "2.5", "loss.epochs must be a whole number, not '2.5'"),
        ("epochs", "many", "loss.epochs must be a whole number"),
        ("lr", "fast", "loss.lr must be a number, not 'fast'"),
        ("lr", "nan", "loss.lr must be a finite number"),
        ("lr", "inf", "loss.lr must be a finite number"),
        ("lr", "-1e999", "loss.lr must be a finite number"),
        ("balanced", "1", "loss.balanced is true or false, not '1'; write loss.balanced=true"),
        ("limit", "None at all", "loss.limit must be a whole number"),
        ("steps", "1,x", "loss.steps must be a whole number, not 'x'"),
    ],
)
def test_values_of_the_wrong_type(key, text, said):
    with pytest.raises(HashzooError) as refused:
        resolve("loss", Part, {}, set_(f"loss.{key}={text}"))
    assert said in str(refused.value)


def test_hints_that_cannot_be_resolved_fall_back_to_the_default():
    def part(size: Unknown = 3):  # noqa: F821 - the point of the test
        pass

    assert resolve("loss", part, {}, set_("loss.size=4"))["size"] == Value(4, "user")
    assert convert("x", type(None), "loss.size") == "x"


def test_suggestions():
    assert did_you_mean("sdoa", ["soda", "dcmh"]) == "; did you mean soda?"
    assert did_you_mean("zzz", ["soda", "dcmh"]) == "; choose from: dcmh, soda"
    assert did_you_mean("zzz", []) == ""
