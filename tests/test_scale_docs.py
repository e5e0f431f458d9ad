"""docs/scale.md: shards that are merged as it says answer like one collection; its figures are those recorded."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from hashzoo.codes import pack
from hashzoo.search import Collection

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("rows", [4, 300])
def test_merged_shards_answer_like_one_collection(rows, tmp_path):
    rng = np.random.default_rng(rows)
    codes = pack(rng.random((rows, 16)) > 0.5)
    whole = Collection.create(tmp_path / "whole", 16)
    whole.append(codes)
    shards = [tmp_path / f"shard{number}" for number in range(3)]
    part = rng.integers(0, 3, rows)
    for number, folder in enumerate(shards):
        mine = np.flatnonzero(part == number)
        Collection.create(folder, 16).append(codes[mine], ids=mine)
    queries = pack(rng.random((7, 16)) > 0.5)
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    found = {"codes": queries, "shards": shards}
    exec(example, found)
    wanted = whole.query(queries, k=10)
    width = wanted.ids.shape[1]
    assert np.array_equal(found["ids"][:, :width], wanted.ids)
    assert np.array_equal(found["distances"][:, :width], wanted.distances)
    assert (found["ids"][:, width:] == -1).all()


def test_memory_of_cells_is_what_was_recorded(capsys, monkeypatch):
    spec = importlib.util.spec_from_file_location("memory", ROOT / "benchmarks" / "memory.py")
    memory = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(memory)
    monkeypatch.setattr("sys.argv", ["memory.py", "--read", str(ROOT / "benchmarks" / "memory.json")])
    memory.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 10
    assert all(f"    {line}\n" in PAGE for line in lines)
