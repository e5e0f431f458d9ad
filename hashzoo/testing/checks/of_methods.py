"""Checks of methods, and of trainers that no method of their plugin uses: by training on drawn scenes."""

from __future__ import annotations

from hashzoo.testing.kit import Subject, check
from hashzoo.testing.trial import trial


@check("method")
def check_same_seed_gives_same_codes(subject: Subject) -> None:
    """Two trainings with one seed give the same codes, bit for bit."""
    first, second = trial(subject), trial(subject, again=1)
    different = [name for name in first.codes if first.codes[name].data.tobytes() != second.codes[name].data.tobytes()]
    assert not different, f"two trainings with one seed give different {' and '.join(different)} codes"
