"""The command line: one file a verb, no logic. Data on stdout; progress, warnings and errors on stderr."""

from __future__ import annotations

import os
import sys

import typer

from hashzoo.cli import bench, datasets, doctor, evaluation, plugins, report
from hashzoo.errors import HashzooError

app = typer.Typer(
    help="Train cross-modal hashing methods and compare them side by side with one evaluator.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command("bench")(bench.bench)
app.command("train")(bench.train)
app.command("eval")(evaluation.evaluate)
app.command("report")(report.report)
app.add_typer(plugins.app, name="plugins")
app.add_typer(datasets.app, name="datasets")
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
        app()
    except HashzooError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("stopped; what is finished is kept, and the same command goes on from there", 130)
    except BrokenPipeError:
        # The reader of our output is gone: nothing more to say, and Python must not try to flush it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None


def _fail(message: str, code: int) -> None:
    if os.environ.get("HASHZOO_DEBUG") == "1":
        raise
    print(f"hashzoo: {message}", file=sys.stderr)
    raise SystemExit(code)
