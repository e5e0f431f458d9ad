"""Learning chunk after chunk: what a trainer is given, what becomes of codes, what is measured and kept."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import HERE, SMALL

from hashzoo import OnlineTrainer, Outputs, Towers, evaluate
from hashzoo.benches import track
from hashzoo.benches.benchmark import bench
from hashzoo.benches.rounds import score_run
from hashzoo.benches.track import Track
from hashzoo.codes import load_codes, pack
from hashzoo.data.stream import Chunk, Stream
from hashzoo.data.training import SeenRows, Training
from hashzoo.errors import HashzooError
from hashzoo.once import bytes_held
from hashzoo.online import Rounds, jobs_of_chunks
from hashzoo.report import collect, frame, make_table
from hashzoo.report.formats import latex, markdown
from hashzoo.storage.files import read_json, write_json
from hashzoo.testing import toy_job, toy_stream

BITS = 8


class Counting(OnlineTrainer):
    """Towers that know in which round they were made; learned codes of 64 and the round."""

    def __init__(self, old_codes="kept", learned=False):
        self.old_codes, self.learned, self.round, self.rows = old_codes, learned, 0, []

    def partial_fit(self, job):
        self.round += 1
        self.rows.append(len(job.train))
        made = torch.nn.Identity(), torch.nn.Identity()
        for tower in made:
            tower.round = self.round
        return Towers(*made)

    def learned_codes(self):
        if not self.learned:
            return None
        rows = sum(self.rows) if self.old_codes == "revised" else self.rows[-1]
        values = torch.from_numpy(bits_of(np.full(rows, 64 + self.round))).float()
        return Outputs(values, values)


def bits_of(numbers):
    return (np.asarray(numbers)[:, None] >> np.arange(BITS)) & 1


def rounds_of(trainer, database_codes="method"):
    """Two chunks, rows 10 to 12 and 13 to 14; the middle row of the first is not trained on."""

    def chunk(rows, places):
        rows = np.array(rows)
        seen = SeenRows(rows[places], rows[places], np.ones((len(places), 2), dtype=bool))
        return Chunk(rows, Training(seen, seen, {}), np.array(places))

    parts = [chunk([10, 11, 12], [0, 2]), chunk([13, 14], [0, 1])]
    toy = toy_job(rows=2, bits=BITS).job
    rounds = Rounds(
        np.array([1]), parts, lambda role, tower, rows: pack(bits_of(np.full(len(rows), tower.round))), database_codes
    )
    jobs = jobs_of_chunks(parts, lambda chunk: toy)
    rounds.online(trainer, jobs)
    assert [codes["text_query"].data[0, 0] for codes in rounds.codes] == [1, 2]
    return rounds, [codes["image_database"].data[:, 0].tolist() for codes in rounds.codes]


@pytest.mark.parametrize(
    ("trainer", "asked", "database", "learned"),
    [
        (Counting(), "method", [[1, 1, 1], [1, 1, 1, 2, 2]], False),
        (Counting("recomputed"), "method", [[1, 1, 1], [2, 2, 2, 2, 2]], False),
        (Counting(), "recomputed", [[1, 1, 1], [2, 2, 2, 2, 2]], False),
        (Counting("recomputed"), "kept", [[1, 1, 1], [1, 1, 1, 2, 2]], False),
        (Counting(learned=True), "method", [[65, 1, 65], [65, 1, 65, 66, 66]], True),
        (Counting(learned=True), "kept", [[1, 1, 1], [1, 1, 1, 2, 2]], False),
        (Counting(learned=True), "recomputed", [[1, 1, 1], [2, 2, 2, 2, 2]], False),
        (Counting("recomputed", learned=True), "method", [[1, 1, 1], [2, 2, 2, 2, 2]], False),
        (Counting("revised", learned=True), "method", [[65, 1, 65], [66, 1, 66, 66, 66]], True),
    ],
)
def test_what_becomes_of_codes(trainer, asked, database, learned):
    rounds, found = rounds_of(trainer, asked)
    assert found == database
    assert rounds.about["learned_codes"] is learned
    assert rounds.about["old_codes"] == (trainer.old_codes if asked == "method" else asked)
    assert len(rounds.about["rounds"]) == 2


class TooMany(Counting):
    def learned_codes(self):
        return Outputs(torch.ones(9, BITS), torch.ones(9, BITS))


class NoTowers(Counting):
    def partial_fit(self, job):
        return None


@pytest.mark.parametrize(
    ("trainer", "said"),
    [
        (Counting("forgotten"), "old_codes of a trainer is one of kept, recomputed, revised, not 'forgotten'"),
        (Counting("revised"), "gives them as learned_codes"),
        (TooMany(), r"gave image codes of shape \(9, 8\) for 2 rows of 8 bits"),
        (NoTowers(), "partial_fit gave back NoneType, not Towers"),
    ],
)
def test_a_trainer_that_breaks_its_word_is_told(trainer, said):
    with pytest.raises(HashzooError, match=said) as error:
        rounds_of(trainer)
    assert error.value.exit_code == 1


def test_jobs_of_chunks_share_randomness_and_loss_and_name_their_chunk():
    made = [toy_job(seed=seed, loss=torch.nn.Identity()) for seed in (0, 1, 2)]
    waiting = iter(made)
    jobs = list(jobs_of_chunks([None] * 3, lambda chunk: next(waiting).job))
    for job, toy in zip(jobs, made, strict=True):
        assert job.generator is made[0].job.generator
        assert job.loss is made[0].job.loss
        assert job.train is toy.job.train
        job.log(epoch=1)
        job.log(stage="teacher", epoch=1)
    assert made[2].lines == [{"epoch": 1, "stage": "chunk 3"}, {"epoch": 1, "stage": "chunk 3 teacher"}]


def test_a_toy_stream_is_a_toy_job_in_chunks():
    whole, parts = toy_job(rows=60), toy_stream(3, 20)
    for name in ("image", "text", "labels"):
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(whole, name))
    assert len({id(part.job.generator) for part in parts}) == 1
    for part in parts:
        batch = part.job.train.batch(torch.arange(len(part.job.train)))
        np.testing.assert_array_equal(batch.image, part.image)
        np.testing.assert_array_equal(batch.labels, part.labels)
        part.job.log(epoch=1)
    assert len(parts[0].lines) == 3


def test_fit_is_partial_fit_over_the_rows_of_a_job():
    class Recording(Counting):
        chunk = 60

        def partial_fit(self, job):
            self.seen = [*getattr(self, "seen", []), job.train.batch(torch.arange(len(job.train)))]
            job.log(epoch=1, rows=len(job.train))
            return super().partial_fit(job)

    toy, trainer = toy_job(rows=200), Recording()
    trainer.fit(toy.job)
    assert trainer.rows == [60, 60, 80]
    assert [line["stage"] for line in toy.lines] == ["chunk 1", "chunk 2", "chunk 3"]
    rows = torch.cat([torch.cat([b.image, b.text, b.labels], dim=1) for b in trainer.seen]).numpy()
    whole = np.concatenate([toy.image, toy.text, toy.labels], axis=1)
    np.testing.assert_array_equal(rows[np.lexsort(rows.T)], whole[np.lexsort(whole.T)])
    assert not np.array_equal(rows, whole)
    few = Recording()
    few.fit(toy_job(rows=20).job)
    assert few.rows == [20]


def test_the_size_of_a_state_counts_each_memory_once():
    array = np.zeros((10, 10))
    shared = torch.from_numpy(array)
    linear = torch.nn.Linear(3, 2)
    held = SimpleNamespace(a=[array, array[2:]], b={"x": (shared, shared[1:])}, c=linear, d="text", e=np.zeros(1))
    assert bytes_held(held) == 800 + 8 * 4 + 8
    held.itself = held
    assert bytes_held(held) == 840


@pytest.fixture
def streams(tiny):
    tiny.package(HERE / "plugins_unfit" / "streams")
    return tiny


def run(methods=("steady", "toy"), stream=None, **options):
    given = {"dataset": "scenes", "encoders": "tiny+bow", "settings": [*SMALL], "threads": 1}
    return bench(methods, [BITS], stream=stream or Stream(chunk=25), **{**given, **options})


def test_a_run_over_a_stream(streams):
    outcome = run()
    assert json.loads(json.dumps(outcome, allow_nan=False)) == outcome
    assert outcome["track"]["stream"]["rows"] == [25, 50, 80]
    assert "-online-" in outcome["track"]["id"]
    steady, toy, random = outcome["results"]
    assert [result["trained"] for result in outcome["results"]] == ["online", "offline", "offline"]
    assert (steady["learned_codes"], toy["learned_codes"], random["old_codes"]) == (True, False, "kept")
    for result in outcome["results"]:
        rounds, folder = result["rounds"], Path(result["run"])
        assert [(line["round"], line["rows"], line["queries"]) for line in rounds] == [
            *((1, 25, 20), (2, 50, 20), (3, 80, 20))
        ]
        kept = Track.load(folder.parent.parent)
        last, changed = load_codes(folder / "codes.npz"), {}
        if (folder / "rounds.npz").exists():
            changed = load_codes(folder / "rounds.npz")
        for line in rounds:
            labels = kept.query_labels, kept.database_labels[: line["rows"]]
            query = changed.get(f"text_query_{line['round']}", last["text_query"])
            assert line["map"]["t2i"] == evaluate(query, last["image_database"][: line["rows"]], *labels).map
        for direction in ("i2t", "t2i"):
            maps = [line["map"][direction] for line in rounds]
            assert maps[-1] == pytest.approx(result["scores"][direction]["map"])
            assert result["mean_over_rounds"][direction] == pytest.approx(np.mean(maps))
        assert rounds[-1]["floor"] == pytest.approx(result["floor"])
    assert all(line["seconds"]["train"] >= 0 and line["state_bytes"] > 1000 for line in steady["rounds"])
    assert steady["rounds"][1]["state_bytes"] == steady["rounds"][0]["state_bytes"]
    assert not [line for line in toy["rounds"] if "seconds" in line]
    assert not (Path(toy["run"]) / "rounds.npz").exists()
    stages = [json.loads(line)["stage"] for line in (Path(steady["run"]) / "train.jsonl").read_text().splitlines()]
    assert stages == ["chunk 1", "chunk 2", "chunk 3"]


def test_stored_rounds_are_reused_scored_again_and_printed(streams, command, monkeypatch):
    first = run(["steady"])
    again = run(["steady"])
    assert all(result["reused"] for result in again["results"])
    folder = Path(first["results"][0]["run"])
    monkeypatch.setattr("hashzoo.benches.plan.evaluator_digest", lambda: "another")
    scored = run(["steady"])["results"][0]
    assert scored["rounds"] == first["results"][0]["rounds"]  # seconds and all
    assert scored["mean_over_rounds"] == first["results"][0]["mean_over_rounds"]

    found = json.loads(command("eval", "--json", folder).out)["results"][0]
    assert found["rounds"] == first["results"][0]["rounds"]
    shown = command("eval", folder)
    assert (shown.code, shown.err) == (0, "")
    mean = f"{found['mean_over_rounds']['i2t']:.4f}"
    assert any(line.split()[:2] == ["mean", mean] for line in shown.out.splitlines() if line.strip())

    kept = Track.load(folder.parent.parent)
    assert score_run(kept, folder)[0]["rounds"] == found["rounds"]
    (folder / "rounds.json").write_text('{"rounds": []}')
    with pytest.raises(HashzooError, match=r"rounds\.json is damaged .it has no 'old_codes'.; delete it and run again"):
        score_run(kept, folder)


def test_one_seed_gives_one_stream_and_the_policy_its_codes(streams):
    first = run(["steady"])["results"][0]
    codes = load_codes(Path(first["run"]) / "codes.npz")
    again = run(["steady"], runs="again")["results"][0]
    assert (Path(again["run"]) / "codes.npz").read_bytes() == (Path(first["run"]) / "codes.npz").read_bytes()
    other = run(["steady"], Stream(chunk=25, database_codes="recomputed"))["results"][0]
    assert (other["old_codes"], other["learned_codes"]) == ("recomputed", False)
    assert "image_database_1" in load_codes(Path(other["run"]) / "rounds.npz")
    towers = load_codes(Path(other["run"]) / "codes.npz")
    np.testing.assert_array_equal(towers["image_query"].data, codes["image_query"].data)
    assert not np.array_equal(towers["image_database"].data, codes["image_database"].data)


def test_by_classes_queries_are_asked_when_their_labels_are_known(streams):
    outcome = run(["steady"], Stream(chunk=15, by="classes", order_seed=2))
    rounds = outcome["results"][0]["rounds"]
    asked = [line["queries"] for line in rounds]
    assert asked == sorted(asked)
    assert asked[0] < asked[-1] == 20
    assert [line["rows"] for line in rounds] == outcome["track"]["stream"]["rows"]


def test_a_failed_run_says_how_it_would_have_been_trained(streams, monkeypatch):
    monkeypatch.setattr(track.Track, "score", lambda *arguments: 1 / 0)
    result = run(["steady"])["results"][0]
    assert (result["status"], result["trained"]) == ("failed", "online")
    (found,) = [r for item in collect(Path("runs")) for r in item["results"] if r["method"] == "steady"]
    assert found["trained"] == "online"


def test_tables_of_a_stream(streams, command):
    outcome = run()
    last, mean = make_table(outcome), make_table(outcome, over_rounds=True)
    assert [row.label for row in last.rows] == ["steady", "toy (offline)", "random (offline)"]
    assert last.title.endswith("online in chunks of 25, tiny+bow, last of 3 rounds")
    assert mean.title.endswith("mean of 3 rounds")
    assert last.rows[1].seconds.endswith(" once")
    expected = outcome["results"][0]["mean_over_rounds"]["i2t"]
    assert mean.rows[0].cells["i2t", BITS] == f"{expected:.3f}".removeprefix("0")
    assert any(note.startswith("steady: the database holds the codes that it learned") for note in last.notes)
    assert any(note.startswith("(offline): trained once") for note in last.notes)
    assert "s a round" in markdown(last)
    assert "toy (offline)" in latex(last)
    shown = command("report")
    assert "mean of 3 rounds" in shown.out
    assert "mean of 3 rounds" in command("report", "--md").out
    rows = frame(collect(Path("runs"))).set_index("method")
    assert rows.loc["steady", "i2t_map_over_rounds"] == pytest.approx(expected)
    assert rows.loc["toy", "trained"] == "offline"


def test_the_command_line(streams, command, sentence):
    common = ("bench", "--method", "steady", "--bits", 8, "--dataset", "scenes", "--encoders", "tiny+bow", "--jobs", 1)
    common += tuple(word for setting in SMALL for word in ("--set", setting))
    online = (*common, "--protocol", "online", "--chunk", 20, "--order-seed", 3, "--database-codes", "kept")
    shown = command(*online)
    assert shown.code == 0, shown.err
    assert "last of 4 rounds" in shown.out
    assert "mean of 4 rounds" in shown.out
    (stored,) = Path("runs").glob("*/track.json")
    assert read_json(stored)["stream"] == {
        **{"chunk": 20, "by": "rows", "order_seed": 3, "database_codes": "kept", "rows": [20, 40, 60, 80]}
    }
    Path("study.toml").write_text('protocol = "online"\nchunk = 15\norder-seed = 3\ndatabase-codes = "kept"\n')
    again = json.loads(command(*common[:1], "study.toml", *common[1:], "--chunk", 20, "--json").out)
    assert [run["reused"] for run in again["results"]] == [True, True]
    assert sentence(*common, "--chunk", 20).endswith("--chunk is for --protocol online; add that, or leave it out")
    assert "--chunks-by is for --protocol online" in sentence(*common, "--chunks-by", "rows")
    assert "--protocol is offline or online, not 'stream'" in sentence(*common, "--protocol", "stream")
    assert "ask for a smaller --chunk" in sentence(*common, "--protocol", "online")
    assert "--folds and --protocol online exclude each other" in sentence(*online, "--folds", 2)


@pytest.mark.parametrize("name", ["rounds", "mean_over_rounds", "learned_codes"])
def test_an_online_run_that_does_not_tell_of_its_rounds_is_left_out(name, streams, capsys):
    outcome = run()
    path = Path(outcome["results"][0]["run"]) / "result.json"
    stored = read_json(path)
    del stored[name]
    write_json(path, stored)
    (item,) = collect(Path("runs"))
    assert [result["method"] for result in item["results"]] == ["toy", "random"]
    assert "does not tell of 3 rounds" in capsys.readouterr().err


def test_rounds_without_seconds_have_a_table_without_them(streams):
    outcome = run()
    for line in outcome["results"][0]["rounds"]:
        line.pop("seconds", None)
    assert make_table(outcome).rows[0].seconds == ""


def test_a_stream_of_labels_that_there_are_not_is_one_sentence(streams):
    folder = Path(run()["results"][0]["run"])
    path = folder.parents[1] / "track.json"
    stored = read_json(path)
    stored["stream"]["labels"] = [[0], [10**6], [1]]
    write_json(path, stored)
    with pytest.raises(HashzooError, match=r"the rounds in .* are damaged"):
        score_run(Track.load(folder.parents[1]), folder)
