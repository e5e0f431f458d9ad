"""Conditions on metadata cannot do anything but choose rows, and say in one sentence what is wrong with them."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import hashzoo.search
from hashzoo.codes import pack
from hashzoo.errors import HashzooError
from hashzoo.search import Collection, filters


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("odd [name]*' é") / "c'"  # what SQL and globbing would take apart
    collection = Collection.create(path, 8)
    for start in (0, 50):
        rows = range(start, start + 50)
        collection.append(
            pack(np.zeros((50, 8))), metadata={"year": [2000 + n % 10 for n in rows], "name": [f"n{n}" for n in rows]}
        )
    collection.delete([7])
    return path


@pytest.fixture(scope="module")
def collection(path):
    return hashzoo.search.open(path)


def test_rows_of_several_segments_without_the_deleted_ones(collection):
    assert collection.ids("year = 2007").tolist() == [n for n in range(100) if n % 10 == 7 and n != 7]
    assert collection.ids("name = 'n7' OR name = 'n77' -- and no more").tolist() == [77]
    assert collection.query(pack(np.zeros((1, 8))), k=3, where="id >= 70").ids.tolist() == [[70, 71, 72]]
    assert collection.ids("true").tolist() == collection.ids().tolist()
    assert collection.ids("NULL").tolist() == []


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("yeer > 2000", "'yeer > 2000' cannot be computed"),
        ("year >", "syntax error"),
        ("year > 2000; DROP TABLE x", "cannot be computed"),
        ("year > 2000) OR (true", "cannot be computed"),
        ("year > 2000 ORDER BY year", "cannot be computed"),
        ("year > 2000 UNION SELECT 1", "cannot be computed"),
        ("year > 2000 FROM x WHERE year > 1", "cannot be computed"),
        ("name > 3", "cannot be computed"),
        ("year, name", "cannot be computed"),
        ("", "a condition is SQL, as in"),
        (3, "a condition is SQL, as in"),
    ],
)
def test_a_wrong_condition_names_the_columns_that_exist(where, sentence, collection):
    with pytest.raises(HashzooError) as caught:
        collection.ids(where)
    assert sentence in str(caught.value)
    assert "the columns are id BIGINT, year BIGINT, name VARCHAR" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "where",
    [
        "year > (SELECT 1)",
        "EXISTS (FROM read_csv('/etc/passwd'))",
        "name IN (SELECT content FROM read_text('/etc/passwd'))",
        "name = ANY (SELECT 'n1')",
        "getenv('HOME') IS NULL",
        "current_setting('allowed_directories') IS NULL",
        "length(repeat(name, 1000000000)) > 1",
        "len(range(1000000000)) > year",
        "len(list_filter([1], lambda x: x > 1)) > 0",
        "name || name = 'n1n1'",
        "system.main.repeat(name, 9) = 'x'",
        "count(*) > 1",
        "row_number() OVER () < 5",
        "CAST(year AS INTEGER[99999]) IS NULL",
        "year = $1",
        "year = ?",
        "#1 = 3",
        "COLUMNS(*) IS NULL",
        "year = 2000 AND " * 5000 + "true",
        "NOT " * 900 + "true",
    ],
)
def test_what_is_no_plain_expression_is_refused(where, collection):
    with pytest.raises(HashzooError) as caught:
        collection.ids(where)
    assert len(str(caught.value)) < 500


def test_a_connection_reaches_no_file_but_the_segments_and_keeps_its_settings(collection, path):
    duckdb = pytest.importorskip("duckdb")
    collection.ids("year = 2000")
    connection = collection._snapshot.filter._connection
    for statement in (
        "SELECT * FROM read_text('/etc/hostname')",
        f"SELECT * FROM read_text('{str(path / 'manifest.json').replace(chr(39), chr(39) * 2)}')",
        "SELECT * FROM glob('/*')",
        "COPY (SELECT 1) TO '/tmp/hashzoo-filter-test'",
        "ATTACH '/tmp/hashzoo-filter-test.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SET memory_limit = '100GB'",
        "SELECT * FROM path",  # no variable of Python
    ):
        with pytest.raises(duckdb.Error):
            connection.execute(statement).fetchall()


def test_a_condition_has_a_time_limit(collection, monkeypatch):
    duckdb = pytest.importorskip("duckdb")
    monkeypatch.setattr(filters, "SECONDS", 0.05)
    # No condition that is allowed takes long here: one that is not stands for it.
    monkeypatch.setattr(filters, "check_condition", lambda cursor, where: None)
    with pytest.raises(HashzooError, match=r"takes longer than 0.05 seconds; make it simpler"):
        collection.ids("levenshtein(repeat(name, 4000), repeat(name, 4001)) > 0")

    def exhausted(cursor, where):
        raise duckdb.OutOfMemoryException("no memory")

    monkeypatch.setattr(filters, "check_condition", exhausted)
    with pytest.raises(HashzooError, match="needs more memory than 1GB"):
        collection.ids("year = 2000")


def test_threads_ask_side_by_side(collection):
    failures = []

    def ask(number):
        try:
            for _ in range(5):
                found = collection.query(pack(np.zeros((1, 8))), k=100, where=f"year = {2000 + number}")
                assert set(found.metadata().year) == {2000 + number}
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_there_must_be_metadata(tmp_path):
    plain = Collection.create(tmp_path / "c", 8)
    plain.append(pack(np.zeros((2, 8))))
    with pytest.raises(HashzooError, match="has no metadata for a condition to be about"):
        plain.ids("id > 0")
