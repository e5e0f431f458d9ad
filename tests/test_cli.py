"""The command line: exit codes, one sentence for an error, data alone on stdout."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import HERE, SMALL, Outcome

import hashzoo
from hashzoo.cli import common, main
from hashzoo.errors import HashzooError
from hashzoo.storage import files

SETTINGS = tuple(part for text in SMALL for part in ("--set", text))
BENCH = ("bench", "--dataset", "scenes", "--encoders", "tiny+bow", "--threads", "1", *SETTINGS)
HERE_ONLY = ("--jobs", "1")  # worker processes take seconds to start
TRAIN = ("train", "toy", "--dataset", "scenes", "--encoders", "tiny+bow", "--threads", "1", *SETTINGS)


def process(*arguments: str, code: str = "from hashzoo.cli import main; main()", **environment: str):
    """The command line in a process of its own."""
    source = str(Path(hashzoo.__file__).parent.parent)
    path = os.pathsep.join(filter(None, (environment.pop("PYTHONPATH", ""), source)))
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(
        command, env=os.environ | environment | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
    )


# ---- help


@pytest.mark.parametrize(
    "verb",
    [
        (),
        *((v,) for v in ("bench", "train", "pretrain", "eval", "report", "plugins", "datasets", "doctor")),
        *(("plugins", v) for v in ("list", "show")),
        *(("datasets", v) for v in ("list", "show", "prepare", "verify")),
    ],
)
def test_every_verb_has_help(verb, command):
    outcome = command(*verb, "--help")
    assert outcome.code == 0
    assert "Usage: hashzoo" in outcome.out
    assert outcome.err == ""


def test_the_version(command):
    assert command("--version") == Outcome(0, f"hashzoo {hashzoo.__version__}\n", "")


@pytest.mark.parametrize("arguments", [(), ("datasets",)])
def test_no_verb_is_a_request_for_help(arguments, command):
    outcome = command(*arguments)
    assert outcome.code == 2
    assert "Usage: hashzoo" in outcome.out + outcome.err


@pytest.mark.parametrize("arguments", [("--help",), ("plugins",), ("plugins", "--json"), ("datasets", "list")])
def test_light_verbs_import_nothing_heavy(arguments):
    code = (
        "import sys, time\nfrom hashzoo.cli import main\n"
        "try:\n    main()\nfinally:\n"
        "    heavy = {'torch', 'numba', 'pandas', 'timm', 'open_clip', 'numpy', 'scipy'} & set(sys.modules)\n"
        "    print('heavy:', sorted(heavy), 'seconds:', time.process_time(), file=sys.stderr)\n"
    )
    told = process(*arguments, code=code).stderr.splitlines()[-1]
    assert told.startswith("heavy: [] seconds: "), told


def test_importing_hashzoo_is_light():
    code = "import sys, hashzoo; print(sorted({'torch', 'numpy', 'numba', 'pandas'} & set(sys.modules)))"
    assert process(code=code).stdout == "[]\n"


def test_all_that_hashzoo_exports_is_there():
    assert dir(hashzoo) == sorted(hashzoo.__all__)
    for name in hashzoo.__all__:
        assert getattr(hashzoo, name) is not None
    with pytest.raises(AttributeError, match="module 'hashzoo' has no attribute 'nothing'"):
        _ = hashzoo.nothing


# ---- what works


def test_bench_prints_a_table_and_says_how_far_it_is(tiny, command):
    outcome = command(*BENCH, "--method", "toy", "--bits", "8,16")
    assert outcome.code == 0
    for word in ("mAP on scenes, tiny+bow", "toy", "random", "chance, exact", "label oracle", "track scenes-"):
        assert word in outcome.out
    assert "1/4 toy tiny+bow 8 bits seed 0: i2t 0." in outcome.err
    again = command(*BENCH, "--method", "toy", "--bits", "8", "--bits", "16")
    assert (again.code, again.out) == (0, outcome.out)
    assert again.err.count("(reused)") == 4


def test_bench_json_is_one_object_and_nothing_else(tiny, command):
    outcome = command(*BENCH, "--method", "toy,fragile", "--bits", "32", "--json")
    assert outcome.code == 1
    found = json.loads(outcome.out)
    assert found["schema"] == 1
    by_method = {r["method"]: r for r in found["results"]}
    assert by_method["fragile"]["status"] == "failed"
    assert by_method["fragile"]["reason"] == "RuntimeError: cannot make 32 bits of [/this]"
    for result in (by_method["toy"], by_method["random"]):
        assert {"method", "encoders", "bits", "seed", "status", "reused", "scores", "floor", "ceiling"} <= set(result)
        assert {"health", "seconds", "plugin", "run"} <= set(result)
        assert 0 < result["scores"]["i2t"]["map"] <= 1
    assert "failed: RuntimeError: cannot make 32 bits of [/this]" in outcome.err


def test_a_failed_cell_is_in_the_table_and_exits_1(tiny, command):
    outcome = command(*BENCH, *HERE_ONLY, "--method", "fragile", "--bits", "16,32")
    assert outcome.code == 1
    assert "failed" in next(line for line in outcome.out.splitlines() if line.strip().startswith("fragile"))
    assert "! fragile (tiny+bow, 32 bits, seed 0) failed: RuntimeError: cannot make 32 bits of [/this]" in outcome.out


def test_train_says_where_the_run_is_kept_and_eval_scores_it_again(tiny, command):
    outcome = command(*TRAIN, "--bits", "16", "--seed", "3")
    assert outcome.code == 0
    run = Path(outcome.out.splitlines()[-1])
    assert run.name.startswith("tiny+bow-16-s3-")
    stored = json.loads((run / "result.json").read_text())

    found = command("eval", run, "--json")
    (result,) = json.loads(found.out)["results"]
    assert result["run"] == str(run)
    assert result["scores"] == stored["scores"]
    assert (result["floor"], result["ceiling"]) == (stored["floor"], stored["ceiling"])
    table = command("eval", run, run)
    assert (table.code, table.err) == (0, "")
    assert f"{stored['scores']['i2t']['map']:.4f}" in table.out
    assert "label oracle" in table.out

    as_json = json.loads(command(*TRAIN, "--bits", "16", "--seed", "3", "--json").out)
    assert all(r["reused"] for r in as_json["results"])


def test_report_in_every_format(tiny, command):
    command(*BENCH, *HERE_ONLY, "--method", "toy", "--bits", "8,16", "--seeds", "0,1")
    table = command("report")
    assert (table.code, table.err) == (0, "")
    assert "mAP on scenes, tiny+bow" in table.out
    assert "±" in table.out
    assert "| toy | **" in command("report", "--md").out
    assert r"\begin{tabular}{lrrrr}" in command("report", "--latex").out
    lines = list(csv.DictReader(io.StringIO(command("report", "--csv").out)))
    assert len(lines) == 8
    (track,) = json.loads(command("report", "--json").out)["tracks"]
    assert len(track["results"]) == 8


@pytest.mark.parametrize("width", [80, 200])
def test_tables_fit_the_width_asked_for(width, tiny, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    outcome = command(*BENCH, *HERE_ONLY, "--method", "toy", "--bits", "8,16,32,64", "--seeds", "0,1")
    rows = outcome.out.splitlines()
    assert max(map(len, rows)) <= width
    assert "…" not in outcome.out


def test_data_sets(tiny, command):
    listed = json.loads(command("datasets", "list", "--json").out)["datasets"]
    assert {"emoji", "scenes"} <= {data["name"] for data in listed}
    assert "scenes" in command("datasets", "list").out
    shown = command("datasets", "show", "scenes", *SETTINGS)
    assert shown.code == 0
    assert "scenes: 100 pairs, 22 labels" in shown.out
    assert "80 train, 20 query, 80 database rows" in shown.out
    assert "Drawn by hashzoo" in shown.out
    prepared = command("datasets", "prepare", "scenes", *SETTINGS)
    assert (prepared.code, prepared.out) == (0, "")
    assert "scenes is prepared" in prepared.err


def test_verify_says_what_is_wrong_with_a_data_set(tiny, command):
    tiny.install(HERE / "plugins_working" / "faulty")
    good = command("datasets", "verify", "scenes", "--set", "dataset.pairs=200", "--set", "dataset.difficulty=0")
    assert good.out.splitlines()[-1] == "in order", good.out
    assert good.code == 0
    bad = command("datasets", "verify", "unlabelled", "--json")
    found = json.loads(bad.out)
    assert (bad.code, found["ok"]) == (1, False)
    assert any("20 rows have no label" in problem for problem in found["problems"])
    assert command("datasets", "verify", "leaking").out.splitlines()[-1] == "not in order"


def test_one_plugin(tiny, command):
    shown = command("plugins", "show", "tiny")
    assert shown.code == 0
    for word in ("tiny  hashzoo-tiny 1.0  ok", "method toy", "encoders of the paper: tiny + bow", "trainer.epochs=2"):
        assert word in shown.out
    (plugin,) = json.loads(command("plugins", "show", "tiny", "--json").out)["plugins"]
    assert [part["name"] for part in plugin["offers"]["method"]] == ["toy", "fragile"]
    assert f"source {plugin['digest']}" in shown.out
    assert json.loads(command("plugins", "show", "hashzoo", "--json").out)["plugins"][0]["digest"] is None
    tiny.install(HERE / "plugins_broken" / "raising_hook")
    broken = command("plugins", "show", "raising_hook")
    assert broken.code == 1
    assert "RuntimeError: the weights are elsewhere" in broken.out


def test_what_a_plugin_says_of_itself_is_no_markup(site, command):
    site.write(
        "hashzoo-odd",
        "odd",
        "from hashzoo.plugin import Part, hookimpl\nHASHZOO_API = 1\n"
        "@hookimpl\ndef hashzoo_datasets():\n    return [Part('odd', 'odd.parts:Odd', 'rows of [/b] and [red]')]\n",
    )
    assert "rows of [/b] and [red]" in command("plugins", "show", "odd").out
    assert "rows of [/b] and [red]" in command("datasets", "list").out


# ---- what is refused


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--method", "tooy"), "no method is called 'tooy'; did you mean toy?"),
        (("--method", "tiny"), "'tiny' is a plugin, its methods are: toy, fragile"),
        (("--method", ""), "--method has an empty entry"),
        (("--method", "toy,"), "--method has an empty entry"),
        (("--method", "toy,toy"), "method toy is given twice"),
        (("--method", "toy", "--bits", "0"), "a code length is a whole number from 1 to 4096, not 0"),
        (("--method", "toy", "--bits", "-8"), "not -8"),
        (("--method", "toy", "--bits", "12.5"), "--bits takes whole numbers, not '12.5'; write --bits 16,32,64,128"),
        (("--method", "toy", "--bits", ""), "--bits takes whole numbers, not ''"),
        (("--method", "toy", "--bits", "16,,32"), "--bits takes whole numbers, not ''"),
        (("--method", "toy", "--bits", "1e2"), "--bits takes whole numbers, not '1e2'"),
        (("--method", "toy", "--bits", "٣"), "--bits takes whole numbers"),
        (("--method", "toy", "--seeds", "x"), "--seeds takes whole numbers, not 'x'; write --seeds 0,1,2"),
        (("--method", "toy", "--seeds", "-1"), "a seed is a whole number from 0"),
        (("--method", "toy", "--device", "tpu"), "the device is auto, cpu, cuda or cuda:N, not 'tpu'"),
        (("--method", "toy", "--set", "trainer.lr"), "'trainer.lr' is not a setting"),
        (("--method", "toy", "--set", "trainer.lr=fast"), "trainer.lr must be a number, not 'fast'"),
        (("--method", "toy", "--set", "trainer.l=1"), "no method asked for has the setting 'trainer.l'"),
        (("--method", "toy", "--set", "dataset.pairs=1"), "dataset.pairs must be a whole number from 100"),
        (("--method", "toy", "--set", "toy.loss.balanced=1"), "Pairwise has no setting 'loss.balanced'"),
        (("--method", "toy", "--encoders", ""), "--encoders has an empty entry"),
        (("--method", "toy", "--encoders", "tiny+nope"), "no encoder is called 'nope'"),
        (("--method", "toy", "--encoders", "tiny+bow+bow"), "names 3 encoders; write IMAGE+TEXT"),
        (("--method", "toy", "--dataset", "nope"), "no dataset is called 'nope'"),
        (("--method", "toy", "--dataset", "scenes/large"), "data set 'scenes' has no variants; type scenes"),
    ],
)
def test_a_bench_that_is_refused_is_one_sentence_and_writes_nothing(arguments, said, tiny, sentence):
    assert said in sentence(*BENCH, *arguments)
    assert [path.name for path in Path.cwd().iterdir() if path.name != "site"] == []


@pytest.mark.parametrize(
    ("arguments", "said", "code"),
    [
        (("report",), "there is no folder runs; run hashzoo bench first", 2),
        (("report", "--runs", "site"), "site holds no finished run", 2),
        (("report", "--md", "--csv"), "--md, --csv, --json, --latex and --html exclude each other", 2),
        (("eval", "site"), "site holds no codes; give the folder of a finished run", 2),
        (("plugins", "show", "tinny"), "is called 'tinny'; did you mean tiny?", 2),
        (("datasets", "show", "scene"), "no dataset is called 'scene'; did you mean scenes?", 2),
        (("datasets", "show", "unreadable"), "data set 'unreadable' cannot be opened: RuntimeError", 1),
        (
            ("datasets", "verify", "scenes", "--set", "trainer.lr=1"),
            "'trainer' in 'trainer.lr=1' is no section; choose from: dataset",
            2,
        ),
        (("datasets", "prepare", "scenes", "--set", "dataset.pears=1"), "did you mean dataset.pairs?", 2),
        (("train", "toy", "--bits", "0"), "a code length is a whole number from 1 to 4096, not 0", 2),
    ],
)
def test_other_verbs_refuse_in_one_sentence(arguments, said, code, tiny, sentence):
    tiny.install(HERE / "plugins_working" / "faulty")
    assert said in sentence(*arguments, code=code)


@pytest.mark.parametrize(
    "arguments",
    [
        ("encode", "run", "--out"),
        ("features", "export", "--out"),
        ("bench", "--method", "toy", "--html"),
        ("report", "--bundle"),
        ("report", "--html"),
        ("report", "--figures"),
        ("export", "codes", "--out"),
        ("export", "run", "--onnx"),
        ("pretrain", "toy", "--out"),
        ("search", "codes", "--sheet"),
    ],
)
def test_what_is_written_here_takes_no_address(arguments, sentence, tmp_path):
    assert "s3://bucket/a b is an address; give a path of this machine" in sentence(*arguments, "s3://bucket/a b")
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("bench",), "name methods, such as --method soda,dcmh, or give a bench file; see hashzoo bench --help"),
        (("bench", "--nope"), "No such option: --nope; see hashzoo bench --help"),
        (("bench", "--method"), "Option '--method' requires an argument; see hashzoo"),
        (("train", "toy", "--bits", "12.5"), "Invalid value for '--bits'"),
        (("bench", "--method", "toy", "--threads", "0"), "Invalid value for '--threads'"),
        (("nope",), "No such command 'nope'; see hashzoo --help"),
        (("eval",), "Missing argument"),
    ],
)
def test_what_the_parser_refuses_is_one_sentence_too(arguments, said, sentence):
    assert sentence(*arguments).startswith(f"hashzoo: {said}")


@pytest.mark.parametrize("file", ["codes.npz", "track.json", "labels.npz"])
def test_eval_of_a_damaged_run(file, tiny, command, sentence):
    run = Path(command(*TRAIN, "--bits", "8").out.splitlines()[-1])
    path = run / file if file == "codes.npz" else run.parent.parent / file
    path.write_bytes(path.read_bytes()[:40])
    said = sentence("eval", run, code=1)
    assert str(path.parent) in said
    assert "delete" in said


def test_a_full_disk(tiny, command, monkeypatch):
    def replace(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", replace)
    outcome = command(*BENCH, "--method", "toy", "--bits", "8")
    assert (outcome.code, outcome.out) == (1, "")
    assert "is full; free some space and run again" in outcome.err.splitlines()[-1]
    assert not [path for path in Path("runs").rglob("*") if path.is_file()]


# ---- errors, signals, pipes


def test_debug_shows_the_traceback(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["hashzoo", "--debug", "report"])
    with pytest.raises(HashzooError, match="there is no folder runs"):
        main()


def test_an_interrupted_bench_says_that_the_same_command_goes_on(site):
    """SIGINT to a real process."""
    site.write(
        "hashzoo-slow",
        "slow",
        "from hashzoo.plugin import Part, hookimpl\nHASHZOO_API = 1\n"
        "@hookimpl\ndef hashzoo_datasets():\n    return [Part('slow', 'slow.parts:Slow', '')]\n",
        "import sys, time\nclass Slow:\n    def __init__(self):\n"
        "        print('opening', file=sys.stderr, flush=True)\n        time.sleep(60)\n",
    )
    source = str(Path(hashzoo.__file__).parent.parent)
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "from hashzoo.cli import main; main()",
            "bench",
            "--method",
            "random",
            "--dataset",
            "slow",
        ],
        env=os.environ | {"PYTHONPATH": f"{site.folder}{os.pathsep}{source}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert child.stderr.readline() == "opening\n"
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert (child.returncode, out) == (130, ""), err
    assert err == "hashzoo: stopped; what is finished is kept, and the same command goes on from there\n"


@pytest.mark.parametrize("arguments", [("--version",), ("plugins", "--json"), ("datasets", "list")])
def test_a_reader_that_goes_away_is_no_traceback(arguments):
    code = (
        "import os, sys\nfrom hashzoo.cli import main\n"
        "reader, writer = os.pipe()\nos.close(reader)\nos.dup2(writer, 1)\nmain()\n"
    )
    told = process(*arguments, code=code)
    assert (told.returncode, told.stderr) == (1, "")


def test_lists_and_consoles(monkeypatch):
    assert common.words(["a, b", "c"], "--method") == ["a", "b", "c"]
    assert common.whole_numbers(["16, 32", "-1"], "--bits", "16") == [16, 32, -1]
    assert common.console().width == common.WIDE
    monkeypatch.setenv("COLUMNS", "90")
    assert common.console(stderr=True).width == 90
    monkeypatch.setenv("COLUMNS", "wide")
    assert common.console().width == common.WIDE


def test_a_terminal_has_the_width_that_it_has(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("COLUMNS", "123")
    assert common.console().width == 123
