"""`hashzoo plugins`: what is installed, and what is wrong with it."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from hashzoo import zoo
from hashzoo.admission import Offer
from hashzoo.cli.common import console, print_json
from hashzoo.cli.plugins_check import check
from hashzoo.cli.plugins_new import new
from hashzoo.errors import HashzooError, did_you_mean
from hashzoo.plugin import Method
from hashzoo.settings import keywords

app = typer.Typer(
    help="List plugins, see what they offer, check them, and start a new one.", invoke_without_command=True
)
app.command("check")(check)
app.command("new")(new)
Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout and nothing else.")]


@app.callback()
def default(context: typer.Context, json: Json = False) -> None:
    if context.invoked_subcommand is None:
        list_plugins(json)


@app.command("list")
def list_plugins(json: Json = False) -> None:
    """Every plugin with its state and what it offers; exit code 1 if one of them cannot be used."""
    known = zoo.load()
    clashes = known.clashes()
    if json:
        print_json({"schema": 1, "plugins": [_describe(plugin) for plugin in known.plugins], "clashes": clashes})
    else:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in ("plugin", "state", "package", "offers"):
            table.add_column(column, overflow="fold")
        for plugin in known.plugins:
            offers = "\n".join(f"{kind}: {', '.join(plugin.names(kind))}" for kind in zoo.KINDS if plugin.names(kind))
            offers = "\n".join((offers or plugin.reason, *plugin.notes))
            style = {"ok": "green", "blocked": "dim"}.get(plugin.state, "red")
            table.add_row(Text(plugin.name), Text(plugin.state, style=style), Text(plugin.origin), Text(offers))
        console().print(table)
        for clash in clashes:
            print(f"hashzoo: {clash}", file=sys.stderr)
    if known.unusable() or clashes:
        raise typer.Exit(1)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="A plugin, or something that one offers.")], json: Json = False
) -> None:
    """One plugin: its package, its state, the digest of its source, and everything that it offers, with settings."""
    known = zoo.load()
    found = [plugin for plugin in known.plugins if plugin.name == name]
    if not found:
        found = [plugin for plugin in known.plugins if any(name in plugin.names(kind) for kind in zoo.KINDS)]
    if not found:
        everything = [p.name for p in known.plugins] + [offer for kind in zoo.KINDS for offer in known.names(kind)]
        raise HashzooError(
            f"no plugin, and nothing that one offers, is called '{name}'{did_you_mean(name, everything)}"
        )
    if json:
        print_json({"schema": 1, "plugins": [_describe(plugin) | {"digest": _digest(plugin)} for plugin in found]})
    else:
        for plugin in found:
            _print(plugin)
    if any(plugin.state != "ok" for plugin in found):
        raise typer.Exit(1)


def _print(plugin: zoo.Plugin) -> None:
    from rich.text import Text

    out = console()
    out.print(Text.assemble((plugin.name, "bold"), f"  {plugin.origin}  {plugin.state}"))
    if plugin.reason:
        out.print(plugin.reason, markup=False, highlight=False)
    if digest := _digest(plugin):
        out.print(f"source {digest}", style="dim", highlight=False)
    for kind in zoo.KINDS:
        for offer in plugin.offers.get(kind, ()):
            out.print(Text.assemble("\n", (f"{kind} {offer.name}", "bold"), f"  {offer.summary}"))
            if isinstance(offer, Method):
                further = "".join(f", {role} {encoder}" for role, encoder in offer.extra.items())
                pair = f"{offer.image} + {offer.text}"
                out.print(f"  encoders of the paper: {pair}{further}", highlight=False, markup=False)
                out.print(f"  constants: {offer.status}; paper: {offer.paper or 'none'}", highlight=False, markup=False)
            for setting, value in _settings(plugin, offer).items():
                out.print(f"  {setting}={value}", highlight=False, markup=False)


def _settings(plugin: zoo.Plugin, offer: Offer) -> dict[str, Any]:
    """What a method sets; of a part the keywords that may be set, with their defaults."""
    if isinstance(offer, Method):
        return dict(offer.settings)
    try:
        found = keywords(zoo.resolve_target(plugin, offer.target), {"modality", "variant"})
    except HashzooError:
        return {}  # `hashzoo plugins check` tells what is wrong with the target
    return {name: parameter.default for name, parameter in found.items()}


def _digest(plugin: zoo.Plugin) -> str | None:
    """Of its source, as the results of its runs have it; of the built-in parts only some files count."""
    return plugin.source_digest() if plugin.state == "ok" and plugin.name != "hashzoo" else None


def _describe(plugin: zoo.Plugin) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "state": plugin.state,
        "reason": plugin.reason,
        "notes": list(plugin.notes),
        "offers": {
            kind: [{"name": offer.name, "summary": offer.summary} for offer in plugin.offers.get(kind, ())]
            for kind in zoo.KINDS
        },
    }
