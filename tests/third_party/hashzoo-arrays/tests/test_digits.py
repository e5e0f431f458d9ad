import numpy as np
import pytest

from hashzoo_arrays.digits import DigitsLike
from hashzoo_arrays.drawing import WORDS, glyphs


def test_no_two_digits_look_alike():
    assert len({mask.tobytes() for mask in glyphs()}) == 10


def test_a_clean_caption_names_the_labels_and_nothing_else():
    data = DigitsLike(rows=200)
    for row in range(200):
        words = data.text(row).strip(".").replace(",", "").split()
        assert {word for word in words if word in WORDS} == {WORDS[c] for c in np.flatnonzero(data.labels[row])}


@pytest.mark.parametrize("variant", ["clean", "noisy"])
def test_every_digit_is_in_every_split_of_the_smallest_data_set(variant):
    data = DigitsLike(variant, rows=100)
    data.check()
    assert all(data.labels[rows].any(axis=0).all() for rows in (data.splits.train, data.splits.query, data.splits.val))
    assert (data.labels.sum(axis=1) > 1).any()


def test_bad_settings_are_refused():
    with pytest.raises(ValueError, match="variant"):
        DigitsLike("blurred")
    with pytest.raises(ValueError, match="rows"):
        DigitsLike(rows=10)
