"""Who may import what: data goes one way, and what answers at once imports nothing heavy."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hashzoo

ROOT = Path(hashzoo.__file__).parent
NUMERIC = {"torch", "timm", "open_clip", "transformers", "torchvision"}
HEAVY = NUMERIC | {"numba", "pandas", "scipy", "matplotlib"}
# Nothing downstream is imported upstream: each imports those before it and its own line, at module level. A folder
# whose modules have places of their own is named module by module.
ORDER = (
    {
        "errors",
        "progress",
        "plugin",
        "processors",
        "settings",
        "storage",
        "benches.records",
    },
    {"guard", "source"},
    {"admission"},
    {"builtin", "zoo"},
    {"codes", "kernels", "fused"},
    {"data"},
    {"encoders"},
    {"features.extraction", "features.cache", "model", "once", "train", "losses", "linear", "online", "cost"},
    {"evaluator"},
    {"scan"},
    {"search"},
    {"benches.track", "benches.rounds"},
    {"benches.mirror"},
    {"recipe", "benches.suite"},
    {"opening"},
    {"benches.workbench"},
    {"fitting"},
    {"benches.run"},
    {"benches.plan"},
    {"benches.sweep"},
    {"runners", "benches.shard"},
    {"benches.benchmark", "benches.bench_file"},
    {"pretrain", "features.export"},
    {"benches.reopening", "benches.reproduction"},
    {"inference.model"},
    {"inference.items"},
    {"inference.encoding"},
    {"inference.filling", "inference.reranked", "inference.onnx_towers"},
    {"serve"},
    {"report", "doctor", "scaffold"},
    {"cli"},
    {"pytest_plugin"},
)


def modules(*patterns: str) -> list[Path]:
    found = sorted(path for pattern in patterns for path in ROOT.glob(pattern))
    assert found, patterns
    return found


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(tree: ast.AST, later: bool) -> Iterator[str]:
    """Modules that a file imports; those under TYPE_CHECKING never, those inside functions if `later`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            assert node.module is not None
            yield node.module
            if node.module.startswith("hashzoo"):
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif later or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imports(node, later)


def closure(name: str, seen: set[str]) -> set[str]:
    """Everything that importing a module of hashzoo imports at module level, followed through hashzoo."""
    parts = name.split(".")
    for n in range(1, len(parts) + 1):
        part = ".".join(parts[:n])
        if part in seen:
            continue
        base = ROOT.parent.joinpath(*part.split("."))
        file = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        seen.add(part)
        if part.startswith("hashzoo") and file.is_file():
            for other in imports(ast.parse(file.read_text(encoding="utf-8")), later=False):
                closure(other, seen)
    return seen


@pytest.mark.parametrize(
    ("patterns", "forbidden"),
    [
        (("__init__.py", "plugin.py", "zoo.py", "settings.py", "builtin.py", "errors.py"), HEAVY | {"numpy"}),
        (("admission.py", "guard.py", "source.py"), HEAVY | {"numpy"}),
        (("cli/*.py",), HEAVY | {"numpy", "rich.console", "rich.table"}),
        (("benches/records.py", "progress.py", "doctor.py"), HEAVY | {"numpy", "fsspec"}),
        (
            ("storage/files.py", "storage/shapes.py", "storage/remote.py", "storage/shared.py"),
            HEAVY | {"numpy", "fsspec"},
        ),
        (
            (
                *(
                    "benches/track.py",
                    "benches/rounds.py",
                    "benches/benchmark.py",
                    "benches/plan.py",
                    "benches/sweep.py",
                ),
                *("recipe.py", "opening.py", "data/*.py"),
            ),
            HEAVY | {"fsspec"},
        ),
        (("codes.py", "search/*.py"), HEAVY),
        (("kernels.py", "scan.py", "evaluator/*.py"), HEAVY - {"numba"}),
        (("report/*.py", "report/*/*.py"), HEAVY),
    ],
)
def test_what_importing_a_module_brings(patterns, forbidden):
    for path in modules(*patterns):
        brought = closure(name_of(path), set())
        found = {name for name in brought if name in forbidden or name.split(".")[0] in forbidden}
        assert not found, f"{name_of(path)} imports {found}"


@pytest.mark.parametrize(
    "pattern",
    [
        *("codes.py", "kernels.py", "evaluator/*.py", "report/*.py", "report/*/*.py"),
        *("benches/track.py", "benches/rounds.py", "scan.py", "search/*.py"),
    ],
)
def test_what_measures_and_reports_never_imports_torch(pattern):
    for path in modules(pattern):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found = {name.split(".")[0] for name in imports(tree, later=True)} & NUMERIC
        assert not found, f"{path.name} imports {found}"


def place_of(module: str) -> int | None:
    """Where a module stands in the order, by its own name or by that of its folder."""
    place = {name: position for position, names in enumerate(ORDER) for name in names}
    parts = module.split(".")[1:]
    return next((place[name] for name in (".".join(parts[:2]), *parts[:1]) if name in place), None)


def test_nothing_downstream_is_imported_upstream():
    for path in modules("*.py", "*/*.py"):
        folder = path.relative_to(ROOT).parts[0]
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if folder in ("__init__.py", "testing") or not (found := list(imports(tree, later=False))):
            continue  # what imports nothing, such as the docstring of a folder, may stand anywhere
        own = place_of(name_of(path))
        assert own is not None, f"{path.relative_to(ROOT)} has no place in the order"
        for name in found:
            other = place_of(name) if name.startswith("hashzoo.") else None
            assert other is None or other <= own, f"{path.relative_to(ROOT)} imports {name}"


def test_the_rule_holds_when_the_modules_are_really_imported():
    """One process: the light modules, then those that may have numpy; no torch in either."""
    code = (
        "import sys, importlib\n"
        "def load(*names):\n    for name in names: importlib.import_module('hashzoo.' + name)\n"
        "    return sorted({'torch', 'numba', 'pandas', 'numpy', 'timm', 'matplotlib'} & set(sys.modules))\n"
        "print(load('plugin', 'zoo', 'settings', 'builtin', 'cli', 'doctor', 'storage.files', 'progress'))\n"
        "print(load('codes', 'evaluator', 'search', 'recipe', 'benches.track', 'benches.benchmark',"
        " 'data', 'data.scenes'))\n"
        "print(load('report', 'report.figures'))\n"
        "print('torch' in load('kernels'))\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.stdout.splitlines() == ["[]", "['numpy']", "['numpy']", "False"], told.stdout + told.stderr
