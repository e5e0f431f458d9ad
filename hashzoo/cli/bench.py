"""`hashzoo bench` and `hashzoo train`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from hashzoo.cli.common import batch_size as read_batch_size
from hashzoo.cli.common import console, on_this_machine, print_json, whole_numbers, words
from hashzoo.cli.online import Chunk, ChunksBy, DatabaseCodes, OrderSeed, Protocol
from hashzoo.errors import HashzooError

Dataset = Annotated[str, typer.Option("--dataset", help="Data set, with its variant: emoji/full; or table:PATH.")]
Encoders = Annotated[
    str, typer.Option("--encoders", help="lite, paper, or pairs such as lite0+bow, separated by commas.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="A setting, such as trainer.lr=1e-3, dataset.size=64 or train_data.label_noise=0.2; may be given often.",
    ),
]
Runs = Annotated[
    str,
    typer.Option("--runs", help="The folder that keeps runs, or an address, shared by machines: s3://bucket/prefix."),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")]
Threads = Annotated[
    int | None,
    typer.Option("--threads", min=1, help="CPU threads of a run; one, or all to train an encoder along."),
]
Jobs = Annotated[
    int | None, typer.Option("--jobs", min=1, help="Cells trained side by side; as many as there are processors.")
]
Runner = Annotated[
    str | None,
    typer.Option(
        "--runner",
        help="Where the work is done: local, this process; processes, workers of this machine; ray, a cluster. "
        "If left out, what suits --jobs and the work.",
    ),
]
RayAddress = Annotated[
    str, typer.Option("--ray-address", help="Of a Ray cluster: auto or HOST:6379; a Ray of this machine if left out.")
]
Share = Annotated[
    str, typer.Option("--shard", metavar="I/N", help="Do one share of the work, 1/8 to 8/8: for array jobs.")
]
BatchSize = Annotated[
    str, typer.Option("--batch-size", help="Rows that an encoder takes at once; auto is what suits the device.")
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Train again what is finished.")]
AllowOverlap = Annotated[
    bool, typer.Option("--allow-overlap", help="Score although query rows are in other splits too; marked everywhere.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")]


def bench(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="A bench file (TOML) that says the same; options win.")
    ] = None,
    method: Annotated[
        list[str] | None, typer.Option("--method", help="Methods, separated by commas: soda,dcmh,resnet.")
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option("--suite", help="In place of --method: paper, every installed method of a paper; or all."),
    ] = None,
    bits: Annotated[list[str], typer.Option("--bits", help="Code lengths.")] = ["16,32,64,128"],  # noqa: B006
    dataset: Dataset = "emoji",
    encoders: Encoders = "lite",
    seeds: Annotated[list[str], typer.Option("--seeds", help="Each cell is trained once with each seed.")] = ["0"],  # noqa: B006
    settings: Settings = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(
            "--sweep",
            help="A setting with several values, trainer.alpha=0.1,1 or train_data.label_noise=0,0.2; may be given "
            'often: every combination is trained. A value with a comma stands in quotes: trainer.prompt="a, {}","{}".',
        ),
    ] = None,
    folds: Annotated[
        int | None, typer.Option("--folds", help="k-fold cross-validation over the training rows; no query is used.")
    ] = None,
    fold_seed: Annotated[int, typer.Option("--fold-seed", help="Decides which row is in which fold.")] = 0,
    runs: Runs = "runs",
    device: Device = "auto",
    threads: Threads = None,
    jobs: Jobs = None,
    runner: Runner = None,
    ray_address: RayAddress = "",
    shard: Share = "",
    batch_size: BatchSize = "auto",
    fresh: Fresh = False,
    allow_overlap: AllowOverlap = False,
    protocol: Protocol = "offline",
    chunk: Chunk = None,
    chunks_by: ChunksBy = None,
    order_seed: OrderSeed = None,
    database_codes: DatabaseCodes = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="FILE",
            help="Also write one page: tables, figures, gallery, provenance.",
            callback=on_this_machine,
        ),
    ] = None,
    json: Json = False,
    source: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="RUN", help="Repeat a recorded run, perhaps a stranger's, and say where it differs."
        ),
    ] = None,
) -> None:
    """Train and compare methods: a table of mAP in both directions, with the random floor.

    Finished runs are reused; a bench that was stopped goes on where it was.
    """
    from hashzoo.benches.sweep import parse_sweep
    from hashzoo.data.stream import ASKED, stream_of

    sources = {name: context.get_parameter_source(name) for name in context.params}
    typed = {name for name, given in sources.items() if given is not None and given.name == "COMMANDLINE"}
    if source is not None:
        from hashzoo.cli.repeat import repeat

        where = {"runs": runs, "device": device, "dataset": dataset, "settings": settings}
        repeat(source, typed, where | {"batch_size": read_batch_size(batch_size)}, fresh, json)
        return
    if suite and (method or file):
        raise HashzooError("--suite names the methods itself; leave --method and the bench file out, or --suite")
    if suite:
        from hashzoo.benches.suite import methods_of

        method = methods_of(suite)
    asked: dict[str, Any] = {
        "methods": words(method, "--method") if method else [],
        "bits": whole_numbers(bits, "--bits", "16,32,64,128"),
        "dataset": dataset,
        "encoders": encoders,
        "seeds": whole_numbers(seeds, "--seeds", "0,1,2"),
        "settings": settings or [],
        "sweep": parse_sweep(sweep or []),
        "folds": folds,
        "fold_seed": fold_seed,
        "runs": runs,
        "device": device,
        "threads": threads,
        "batch_size": read_batch_size(batch_size),
        "allow_overlap": allow_overlap,
    }
    arrival = dict(zip(ASKED, (protocol, chunk, chunks_by, order_seed, database_codes), strict=True))
    if file is not None:
        from hashzoo.benches.bench_file import KEYS, read_bench_file

        options = {field: "method" if field == "methods" else field for field, _ in KEYS.values()}
        given = {field: (asked | arrival)[field] for field, option in options.items() if option in typed}
        benches, side_by_side = read_bench_file(file, given)
        jobs = jobs or (side_by_side if runner != "local" else None)
    elif not method:
        raise HashzooError("name methods, such as --method soda,dcmh, or give a bench file; see hashzoo bench --help")
    else:
        benches = [asked | {"stream": stream_of(arrival)}]
    result = _bench(benches, jobs=jobs, fresh=fresh, runner=runner, ray_address=ray_address, shard=shard)
    if html:
        _write_page(result, html)
    _show(result, json, costs=suite is not None)


def train(
    method: Annotated[str, typer.Argument(help="One method.")],
    bits: Annotated[int, typer.Option("--bits", help="Code length.")] = 64,
    dataset: Dataset = "emoji",
    encoders: Encoders = "lite",
    seed: Annotated[int, typer.Option("--seed", help="Of everything random.")] = 0,
    settings: Settings = None,
    runs: Runs = "runs",
    device: Device = "auto",
    threads: Threads = None,
    batch_size: BatchSize = "auto",
    fresh: Fresh = False,
    allow_overlap: AllowOverlap = False,
    json: Json = False,
) -> None:
    """Train one method at one code length, and say where the run is kept."""
    asked = {
        "methods": [method],
        "bits": [bits],
        "dataset": dataset,
        "encoders": encoders,
        "seeds": [seed],
        "settings": settings or [],
        "runs": runs,
        "device": device,
        "threads": threads,
        "batch_size": read_batch_size(batch_size),
        "allow_overlap": allow_overlap,
    }
    result = _bench([asked], jobs=1, fresh=fresh)
    _show(result, json)
    if not json:
        for run in result["results"]:
            if run["method"] == method:
                print(run["run"])


def _bench(asked: list[dict[str, Any]], **how: Any) -> dict[str, Any]:
    from hashzoo.benches.benchmark import Request, bench_all
    from hashzoo.cli.watch import Watch

    # What methods print while they train must not end up in our data on stdout.
    with Watch(console(stderr=True)) as watch, contextlib.redirect_stdout(sys.stderr):
        return bench_all([Request(**one) for one in asked], **how, watch=watch)


def _write_page(result: dict[str, Any], path: Path) -> None:
    from hashzoo.report.html import write_html

    for missing in write_html(result.get("tracks", [result]), path):
        print(f"hashzoo: {missing}", file=sys.stderr)
    print(f"hashzoo: wrote {path}", file=sys.stderr)


def _show(result: dict[str, Any], json: bool, costs: bool = False) -> None:
    tracks = result.get("tracks", [result])
    if not tracks:
        print("hashzoo: this share holds no cell: there are more shares than cells", file=sys.stderr)
    if json:
        print_json(result)
    else:
        from hashzoo.report import join_folds, make_costs, make_table
        from hashzoo.report.formats import print_costs, print_table

        for item in join_folds(tracks):
            print_table(make_table(item), console())
            if item["track"].get("stream"):
                print_table(make_table(item, over_rounds=True), console())
            if costs and (told := make_costs(item)):
                print_costs(told, console())
    if any(run["status"] != "ok" for item in tracks for run in item["results"]):
        raise typer.Exit(1)
