"""What does a plugin cost when hashzoo starts?

    python benchmarks/start.py [--repeat 5] [--json]

CPU time (user and system) of `hashzoo --help` and of `hashzoo plugins` with 0, 10 and 30 small plugins beside those
that are installed already. They are made in a temporary folder; each is a package of two modules that offers a loss,
a trainer and a method. The least of several runs, the cases in turn, so that neighbours on the machine disturb all
alike. `ms_a_plugin` is the difference to no plugin, divided by their number: at most 10 ms is the aim.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

COUNTS = (0, 10, 30)
VERBS = {"hashzoo --help": ("--help",), "hashzoo plugins": ("plugins",)}
PLUGIN = """
from hashzoo.plugin import Method, Part, hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_losses():
    return [Part("loss-{n}", "start_{n}.parts:Loss", "a loss")]


@hookimpl
def hashzoo_trainers():
    return [Part("trainer-{n}", "start_{n}.parts:Trainer", "a trainer")]


@hookimpl
def hashzoo_methods():
    return [Method("method-{n}", "lite0", "minilm", "loss-{n}", "trainer-{n}", settings={{"trainer.lr": 0.1}})]
"""


def make_plugins(folder: Path, count: int) -> None:
    """Packages as an installer leaves them, compiled."""
    for n in range(count):
        package, info = folder / f"start_{n}", folder / f"hashzoo_start_{n}-1.0.dist-info"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(PLUGIN.format(n=n))
        (package / "parts.py").write_text("class Loss: ...\n\n\nclass Trainer: ...\n")
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: hashzoo-start-{n}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[hashzoo]\nstart_{n} = start_{n}\n")
    subprocess.run([sys.executable, "-m", "compileall", "-q", folder], check=True)


def cpu_seconds(folder: Path, arguments: tuple[str, ...]) -> float:
    """User and system time of one process of the command line."""
    code = "from hashzoo.cli import main; main()"
    path = os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"hashzoo {' '.join(arguments)} ended with {done.returncode}: {done.stderr}")
    return (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)


def measure(repeat: int) -> list[dict[str, float | int | str]]:
    """One row for each verb and number of plugins."""
    least = {(verb, count): float("inf") for verb in VERBS for count in COUNTS}
    with tempfile.TemporaryDirectory() as temporary:
        folders = {count: Path(temporary, str(count)) for count in COUNTS}
        for count, folder in folders.items():
            folder.mkdir()
            make_plugins(folder, count)
        for _ in range(repeat):
            for verb, count in least:
                least[verb, count] = min(least[verb, count], cpu_seconds(folders[count], VERBS[verb]))
    return [
        {
            "command": verb,
            "plugins": count,
            "cpu_ms": round(1000 * took, 1),
            "ms_a_plugin": round(1000 * (took - least[verb, 0]) / count, 2) if count else 0.0,
        }
        for (verb, count), took in least.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="CPU time of hashzoo's start with many plugins.")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each case, of which the least counts")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    asked = parser.parse_args()
    rows = measure(asked.repeat)
    if asked.json:
        print(json.dumps({"schema": 1, "rows": rows}, indent=2))
        return
    print(f"{'command':18}{'plugins':>8}{'CPU ms':>10}{'ms a plugin':>13}")
    for row in rows:
        print(f"{row['command']:18}{row['plugins']:>8}{row['cpu_ms']:>10}{row['ms_a_plugin']:>13}")


if __name__ == "__main__":
    main()
