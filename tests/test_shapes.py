"""What a JSON file may hold: numbers are finite and of a size that can be reckoned with, however they are written."""

from __future__ import annotations

import json

import pytest

from hashzoo.benches.records import RESULT
from hashzoo.storage.shapes import ANY, Fields, Just, Number, Real, check


@pytest.mark.parametrize("text", ["0", "-1.5", "1e308", str(2**1000)])
def test_numbers_are_numbers(text):
    check(json.loads(text), float)


@pytest.mark.parametrize("text", ["1e999", "-1e999", str(10**400), str(-(10**400)), "true", '"1"', "null"])
def test_what_is_no_finite_number_is_refused(text):
    with pytest.raises(ValueError, match="not a number"):
        check(json.loads(text), float)


def test_a_number_lies_within_its_limits():
    shape = Fields({"share": Real(0, 1)})
    check({"share": 0}, shape)
    check({"share": 0.5}, shape)
    for value in (1.01, -1, float("nan"), True, 10**400):
        with pytest.raises(ValueError, match="not a number from 0 to 1"):
            check({"share": value}, shape)


def test_a_whole_number_of_any_length_is_compared_with_its_limits():
    with pytest.raises(ValueError, match="not a whole number from 0 to 5"):
        check(10**400, Number(0, 5))
    check(10**400, ANY)


def test_a_cost_is_that_of_both_towers():
    cost = RESULT.optional["cost"]
    one = {"parameters": 1, "macs": 2}
    check({"image": one, "text": one}, cost)
    for bad in ({"text": one}, {"image": one, "text": {"macs": 2}}, {"image": one, "text": {**one, "macs": 1e308}}):
        with pytest.raises(ValueError, match="cost|it|text|macs"):
            check(bad, cost)


def test_a_text_is_the_one_that_it_must_be():
    check("ok", Just("ok"))
    for other in ("failed", "", None, 1, ["ok"]):
        with pytest.raises(ValueError, match="not 'ok'"):
            check(other, Just("ok"))
