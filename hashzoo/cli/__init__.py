"""The command line: one file a verb, no logic. Data on stdout; progress, warnings and errors on stderr."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

import typer

from hashzoo.cli import (
    bench,
    datasets,
    doctor,
    encode,
    evaluation,
    export,
    features,
    plugins,
    pretrain,
    report,
    search,
    serve,
)
from hashzoo.errors import HashzooError

INTERRUPTED = 130  # the exit code of a program that SIGINT ended
app = typer.Typer(
    help="Train cross-modal hashing methods and compare them side by side with one evaluator.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("bench")(bench.bench)
app.command("train")(bench.train)
app.command("pretrain")(pretrain.pretrain)
app.command("eval")(evaluation.evaluate)
app.command("report")(report.report)
app.command("encode")(encode.encode)
app.command("search")(search.search)
app.command("serve")(serve.serve)
app.command("export")(export.export)
app.add_typer(plugins.app, name="plugins")
app.add_typer(datasets.app, name="datasets")
app.add_typer(features.app, name="features")
app.command("doctor")(doctor.doctor)


def _version(asked: bool) -> None:
    if asked:
        from hashzoo import __version__

        print(f"hashzoo {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    if debug:
        os.environ["HASHZOO_DEBUG"] = "1"


def main() -> None:
    """Run the command line; an error is one sentence on stderr and an exit code."""
    try:
        # Outside its standalone mode typer gives back the exit code, and leaves its errors to us.
        code = app(prog_name="hashzoo", standalone_mode=False)
        sys.stdout.flush()
    except HashzooError as error:
        _fail(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader of our output is gone: nothing more to say, and Python must not try to flush it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except Exception as error:
        if not hasattr(error, "format_message"):  # what the parser refuses; typer releases name its class differently
            raise
        _refuse(error)
    if code == INTERRUPTED:
        print("hashzoo: stopped; what is finished is kept, and the same command goes on from there", file=sys.stderr)
    raise SystemExit(code)


def _refuse(error: Any) -> NoReturn:
    """One sentence for what the parser refuses; where nothing at all was asked for, the help has been shown."""
    said = error.format_message().rstrip(".")
    if not said:
        raise SystemExit(error.exit_code)
    context = getattr(error, "ctx", None)
    _fail(f"{said}; see {context.command_path if context else 'hashzoo'} --help", error.exit_code)


def _fail(message: str, code: int) -> NoReturn:
    if os.environ.get("HASHZOO_DEBUG") == "1":
        raise
    print(f"hashzoo: {message}", file=sys.stderr)
    raise SystemExit(code)
