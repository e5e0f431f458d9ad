"""The pages on evaluation say what the code does."""

import importlib.util
import re
from pathlib import Path

import pytest

from hashzoo.evaluator import PRESETS
from hashzoo.evaluator import metrics as names

ROOT = Path(__file__).parents[1]


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_differing_numbers_is_what_its_script_prints():
    page = (ROOT / "docs/why-your-number-differs.md").read_text(encoding="utf-8")
    shown = [line for line in page.splitlines() if line.startswith("|")]
    printed = load(ROOT / "benchmarks/why_numbers_differ.py").table()
    assert len(shown) == len(printed)
    number = re.compile(r"0\.\d{4}")
    for one, other in zip(shown, printed, strict=True):
        assert number.sub("", one) == number.sub("", other)
        # Another BLAS may round a projection to the other side of 0.
        assert [float(v) for v in number.findall(one)] == pytest.approx(
            [float(v) for v in number.findall(other)], abs=3e-4
        )


def test_every_metric_and_protocol_is_documented():
    page = (ROOT / "docs/evaluation.md").read_text(encoding="utf-8")
    for metric in (
        *names.PLAIN,
        *(f"{name}@" for name in names.AT_RANK),
        *(f"{name}_radius_r" for name in names.AT_RADIUS),
    ):
        assert f"`{metric}" in page, metric
    for protocol in PRESETS:
        assert f"`{protocol}" in page, protocol
