"""Looks for files that hashzoo cannot read and does not refuse, with atheris, which is led by the code that they reach.

    python benchmarks/fuzz.py FORMAT [--inputs 20000] [--seconds 300] [--seed 1] [--json]

FORMAT is one of those in tests/fuzzing.py (`python benchmarks/fuzz.py list`), or all. Files are changed as their
content is built, and byte by byte. A file that raises anything but a HashzooError, takes longer than 5 s or more than
1 GB is a finding: it is kept, its name printed, and the exit code is 1. `pip install atheris`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def look(name: str, place: Path, inputs: int, seconds: int, seed: int) -> None:
    """Feed a format in this process until a finding, or to the end; libFuzzer ends the process."""
    import atheris

    # Readers import what they need when they read: only whole files bring all of it. Compiled code stays as it is.
    compiled = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in (ROOT / "hashzoo").rglob("*.py")
        if re.search(r"import numba|hashzoo\.kernels", path.read_text(encoding="utf-8"))
    ]
    with atheris.instrument_imports(include=["hashzoo"], exclude=compiled):
        import fuzzing

        form = fuzzing.ready(place)[name]
        for content in form.seeds:
            form.read(content)  # which may have to compile, and takes as long as it takes

    corpus = place / "corpus"
    corpus.mkdir()
    rng = random.Random(seed)
    for number, content in enumerate([*form.seeds, *(fuzzing.mutated(form, rng) for _ in range(50))]):
        (corpus / f"{number}").write_bytes(content)

    def change(data: bytes, largest: int, drawn: int) -> bytes:
        mine = random.Random(drawn)
        if mine.random() < 0.3:
            return atheris.Mutate(data, largest)
        try:
            return form.change(data, mine)[:largest]
        except Exception:  # changed bytes: no file of the format any more
            return atheris.Mutate(data, largest)

    words = [
        *(sys.argv[0], f"-runs={inputs}", f"-max_total_time={seconds}", f"-seed={seed}", "-max_len=300000"),
        *("-len_control=0", "-print_final_stats=1", f"-artifact_prefix={os.getcwd()}/{name}-", str(corpus)),
    ]
    atheris.Setup(words, lambda content: fuzzing.feed(form, content), custom_mutator=change)
    atheris.Fuzz()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("format")
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.place:
        look(asked.format, asked.place, asked.inputs, asked.seconds, asked.seed)
    from test_fuzz import NAMES

    if asked.format == "list":
        print("\n".join(NAMES))
        return
    if asked.format not in (*NAMES, "all"):
        parser.error(f"choose from: all, {', '.join(NAMES)}")
    told = []
    for name in NAMES if asked.format == "all" else [asked.format]:
        with tempfile.TemporaryDirectory() as place:
            start, before = time.time(), os.times()
            words = [sys.executable, __file__, name, "--place", place, f"--seed={asked.seed}"]
            words += [f"--inputs={asked.inputs}", f"--seconds={asked.seconds}"]
            ended = subprocess.run(words, capture_output=True, text=True, check=False)
            after = os.times()
        fed = re.findall(r"stat::number_of_executed_units:\s*(\d+)", ended.stderr) or re.findall(
            r"#(\d+)", ended.stderr
        )
        reached = re.findall(r"cov: (\d+)", ended.stderr)
        found = re.findall(r"Test unit written to (\S+)", ended.stderr)
        cpu = after.children_user + after.children_system - before.children_user - before.children_system
        told.append(
            {
                "format": name,
                "inputs": int("".join(fed[-1])) if fed else 0,
                "places_reached": int(reached[-1]) if reached else 0,
                "findings": found,
                "exit_code": ended.returncode,
                "seconds": round(time.time() - start, 1),
                "cpu_seconds": round(cpu, 1),
            }
        )
        if ended.returncode:
            print(ended.stderr[-4000:], file=sys.stderr)
        if not asked.json:
            one = told[-1]
            print(
                f"{name:12} {one['inputs']:>8,} inputs, {len(found)} findings, {one['cpu_seconds']} s of CPU",
                flush=True,
            )
    if asked.json:
        print(json.dumps(told, indent=2))
    sys.exit(1 if any(one["exit_code"] for one in told) else 0)


if __name__ == "__main__":
    main()
