"""What the kit does about data sets that it cannot look at as they are."""

from __future__ import annotations

import pytest
from helpers import HERE

from hashzoo.testing.kit import check_plugin


@pytest.fixture(autouse=True)
def datasets(site, monkeypatch):
    site.package(HERE / "plugins_unfit" / "data_sets")
    monkeypatch.setenv("HASHZOO_ONLY", "data_sets")


def outcomes(name: str) -> dict[str, tuple[str, str]]:
    """Outcome and message of each check of a data set."""
    findings = check_plugin(name).findings
    return {finding.name: (finding.outcome, finding.message) for finding in findings if "dataset:" in finding.subject}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fetches-when-opened", "it is not prepared; type: hashzoo datasets prepare fetches-when-opened"),
        ("prepares-when-opened", "it is not prepared; type: hashzoo datasets prepare prepares-when-opened"),
        ("asks-to-be-prepared", "pictures are missing; type: hashzoo datasets prepare asks-to-be-prepared"),
    ],
)
def test_a_data_set_that_is_not_prepared_is_neither_fetched_nor_prepared(name, said):
    found = outcomes(name)
    assert found.pop("check_prepare_takes_the_settings") == ("passed", "")
    assert set(found.values()) == {("not_applicable", said)}


def test_a_fingerprint_that_reads_no_row_is_not_said_to_follow_them():
    outcome, message = outcomes("fingerprint-of-seed")["check_fingerprint_follows_content"]
    assert outcome == "not_applicable"
    assert message.startswith("the fingerprint reads no row (perhaps checksums of files)")


def test_a_variant_is_checked_under_the_name_that_is_typed(sentence):
    report = check_plugin("variants/large")
    assert {finding.subject for finding in report.findings} == {"plugin:data_sets", "dataset:variants/large"}
    assert report.count("failed") == 0
    assert sentence("plugins", "check", "fit/large") == "hashzoo: data set 'fit' has no variants; type fit"
