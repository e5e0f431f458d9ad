"""The conformance kit: what a check is, which checks a plugin has to pass, and running them.

A check is a function `check_...(subject)` that returns nothing, or raises with one sentence that an author can
act upon. Its name is its message. No check knows any plugin by name.
"""

from __future__ import annotations

import inspect
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from hashzoo import zoo
from hashzoo.errors import HashzooError, did_you_mean, one_line
from hashzoo.opening import dataset_class
from hashzoo.plugin import Method, Part
from hashzoo.recipe import LITE, build
from hashzoo.zoo import Plugin, Zoo

TIERS = ("contract", "behaviour")
PASSED, FAILED, EXPECTED, NOT_APPLICABLE = "passed", "failed", "expected_failure", "not_applicable"


@dataclass(frozen=True, eq=False)
class Subject:
    """What a check looks at: a plugin as a whole (kind "plugin"), or one of the things that it offers.

    Attributes:
        kind: "plugin", "dataset", "encoder", "loss", "trainer", "index" or "method"; "online" for a method or trainer
            that learns chunk after chunk, beside.
        name: as a user types it, with the argument of an encoder ("timm:resnet18") or a variant ("emoji/full").
        plugin: that it comes from.
        offer: its Part or Method; None for the plugin as a whole.
        zoo: everything that is installed.
    """

    kind: str
    name: str
    plugin: Plugin
    offer: Part | Method | None
    zoo: Zoo

    @property
    def id(self) -> str:
        return f"{self.kind}:{self.name}"

    def target(self) -> Any:
        """The class behind a part."""
        assert isinstance(self.offer, Part)
        return zoo.resolve_target(self.plugin, self.offer.target)

    def obstacle(self) -> str:
        """Why it cannot even be put together; a check of the whole plugin fails for the same reason."""
        try:
            if isinstance(self.offer, Part):
                self.target()
            elif isinstance(self.offer, Method):
                build(self.zoo, self.name, LITE, [])
        except HashzooError as error:
            return str(error)
        return ""


@dataclass(frozen=True)
class Check:
    """One check of one kind of subject.

    Attributes:
        kind: the kind of subject that it is for.
        tier: "contract" (seconds) or "behaviour" (trains on drawn scenes).
        run: raises where the subject does not conform.
        unless: says why the check does not apply to a subject, "" where it does.
    """

    name: str
    kind: str
    tier: str
    run: Callable[[Subject], None]
    unless: Callable[[Subject], str]


_CHECKS: list[Check] = []
# The share of the checks of its kind that have to apply to a subject (a half where no share is named): a run in which
# next to nothing applies must not look like one in which everything passes.
DEMANDED = {"plugin": 1.0, "trainer": 0.75, "method": 0.75}


def check(
    kind: str, tier: str = "contract", unless: Callable[[Subject], str] = lambda subject: ""
) -> Callable[[Callable[[Subject], None]], Callable[[Subject], None]]:
    """Register a function as a check; its docstring says what is demanded, in one sentence."""

    def register(function: Callable[[Subject], None]) -> Callable[[Subject], None]:
        _CHECKS.append(Check(function.__name__, kind, tier, function, unless))
        return function

    return register


def checks(kind: str | None = None) -> list[Check]:
    """All checks (of one kind), in the order in which they run."""
    from hashzoo.testing import checks  # noqa: F401 - importing the package registers them

    return [known for known in _CHECKS if kind in (None, known.kind)]


def checks_for(subject_kind: str) -> list[Check]:
    """The checks of a subject: a trainer is checked as a method."""
    return checks("method" if subject_kind == "trainer" else subject_kind)


def spare(subject_kind: str) -> int:
    """How many checks may not apply to one subject of a kind."""
    return int((1 - DEMANDED.get(subject_kind, 0.5)) * len(checks_for(subject_kind)))


@dataclass(frozen=True)
class Case:
    """A check to be run on a subject; `expected` is why it is expected to fail, "" where it is not."""

    subject: Subject
    check: Check
    expected: str = ""

    @property
    def id(self) -> str:
        return f"{self.subject.id}/{self.check.name}"

    def not_applicable(self) -> str:
        """Why the check does not apply to the subject, "" where it does."""
        return self.subject.obstacle() or self.check.unless(self.subject)


@dataclass(frozen=True)
class Finding:
    """How a case went; `message` says why it failed, was expected to, or does not apply."""

    subject: str
    name: str
    outcome: str
    seconds: float
    message: str = ""


@dataclass(frozen=True)
class Report:
    """All findings of one `hashzoo plugins check`."""

    plugin: str
    findings: list[Finding] = field(default_factory=list)

    def count(self, outcome: str) -> int:
        return Counter(finding.outcome for finding in self.findings)[outcome]

    @property
    def ran(self) -> int:
        return len(self.findings) - self.count(NOT_APPLICABLE)

    def too_few(self) -> list[str]:
        """A sentence for each subject to which more checks do not apply than its kind may spare.

        What was not asked for, such as another tier, is not missed.
        """
        idle = Counter(finding.subject for finding in self.findings if finding.outcome == NOT_APPLICABLE)
        return [
            f"{subject}: {count} checks do not apply, of {len(checks_for(kind))} at most {spare(kind)} may; "
            f"what is not checked cannot be called good"
            for subject, count in idle.items()
            for kind in [subject.partition(":")[0]]
            if count > spare(kind)
        ]

    def as_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "plugin": self.plugin,
            "ran": self.ran,
            "passed": self.count(PASSED),
            "expected_failures": self.count(EXPECTED),
            "not_applicable": self.count(NOT_APPLICABLE),
            "failed": self.count(FAILED),
            "too_few": self.too_few(),
            "checks": [asdict(finding) for finding in self.findings],
        }

    def summary(self) -> str:
        """Every count in one line: a green run that checked little must not look like one that checked all."""
        return (
            f"{self.plugin}: {self.ran} checks ran: {self.count(PASSED)} passed, {self.count(FAILED)} failed, "
            f"{self.count(EXPECTED)} expected to fail; {self.count(NOT_APPLICABLE)} do not apply"
        )


def subjects(name: str) -> list[Subject]:
    """What is checked under a name: a plugin with all that it offers, or one offer with its plugin.

    A method brings the parts that it names along, as far as they come from the same plugin. An encoder
    that needs an argument is checked with the one that is typed ("timm:resnet18"), and left out otherwise;
    a data set is checked in the variant that is typed ("emoji/full"), or with the argument ("table:photos.csv").
    """
    known = zoo.load()
    base, _, argument = name.partition(":")
    if not argument and base.partition("/")[0] in known.names("dataset"):
        if "/" in base:
            dataset_class(base)  # a variant of a data set that has none is an error
        base = base.partition("/")[0]
    for plugin in known.plugins:
        if plugin.name == name:
            offers = [(kind, offer) for kind, all_of_kind in plugin.offers.items() for offer in all_of_kind]
            return [Subject("plugin", name, plugin, None, known), *_parts(plugin, offers, known)]
    owners = [(kind, plugin) for plugin in known.plugins for kind in zoo.KINDS if base in plugin.names(kind)]
    if not owners:
        everything = {plugin.name for plugin in known.plugins}.union(*(known.names(kind) for kind in zoo.KINDS))
        raise HashzooError(
            f"no plugin, and nothing that one offers, is called '{name}'{did_you_mean(base, everything)}"
        )
    found: list[Subject] = []
    for kind, plugin in owners:
        if kind == "trainer" and ("method", plugin) in owners:
            continue  # it is checked as the method of its name
        known.find(kind, base)  # a name that two packages offer is an error that names both
        offer = next(offer for offer in plugin.offers[kind] if offer.name == base)
        if plugin not in [subject.plugin for subject in found]:
            found.append(Subject("plugin", plugin.name, plugin, None, known))
        if isinstance(offer, Method):
            named = (
                *(("encoder", encoder) for encoder in (offer.image, offer.text, *offer.extra.values())),
                ("loss", offer.loss),
                ("trainer", offer.trainer),
            )
            wanted = {(part_kind, part.partition(":")[0]) for part_kind, part in named}
            mine = [(k, o) for k, offers in plugin.offers.items() for o in offers if (k, o.name) in wanted]
            found += _parts(plugin, [*mine, (kind, offer)], known)
        elif argument or not needs_argument(plugin, kind, offer):
            found.append(Subject(kind, name, plugin, offer, known))
        elif kind == "dataset":
            raise HashzooError(f"data set '{base}' needs to know what to read; type: hashzoo plugins check {base}:PATH")
        else:
            raise HashzooError(f"encoder '{base}' needs to know which model; type: hashzoo plugins check {base}:MODEL")
    return found


def _online(subject: Subject) -> Iterator[Subject]:
    """A method or trainer that learns chunk after chunk is checked as such, too."""
    if subject.kind not in ("method", "trainer"):
        return
    name = subject.offer.trainer if isinstance(subject.offer, Method) else subject.name
    try:
        owner, part = subject.zoo.find("trainer", name)
        target = zoo.resolve_target(owner, part.target)
    except HashzooError:
        return  # a check says so
    if callable(getattr(target, "partial_fit", None)):
        yield replace(subject, kind="online")


def _parts(plugin: Plugin, offers: Iterable[tuple[str, Any]], known: Zoo) -> Iterator[Subject]:
    """A trainer that a method of its plugin uses is checked as that method."""
    used = {method.trainer for method in plugin.offers.get("method", ()) if isinstance(method, Method)}
    for kind, offer in offers:
        if (kind == "trainer" and offer.name in used) or needs_argument(plugin, kind, offer):
            continue
        subject = Subject(kind, offer.name, plugin, offer, known)
        yield subject
        yield from _online(subject)


def needs_argument(plugin: Plugin, kind: str, offer: Any) -> bool:
    """Whether an encoder or data set cannot be built by its name alone.

    The first parameter of such an encoder has no default, or "", as timm's; such a data set takes `argument`.
    """
    if kind not in ("encoder", "dataset"):
        return False
    try:
        parameters = inspect.signature(zoo.resolve_target(plugin, offer.target)).parameters
    except (HashzooError, TypeError, ValueError):
        return False  # a check says so
    if kind == "dataset":
        return "argument" in parameters
    single = (p for p in parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))  # nn.Module takes any
    first = next((parameter for parameter in single if parameter.name != "modality"), None)
    return first is not None and first.default in (first.empty, "")


def cases(name: str, expected_failures: Mapping[str, str] | None = None, tier: str = "all") -> list[Case]:
    """Every check of everything under a name.

    Args:
        name: of a plugin, or of something that a plugin offers.
        expected_failures: reasons by check name ("check_x"), or by subject and check name ("loss:mine/check_x").
        tier: "contract", "behaviour" or "all".
    """
    if not __debug__:
        raise HashzooError("python -O takes the assertions out of the checks; run them without -O")
    if tier not in (*TIERS, "all"):
        raise HashzooError(f"there is no tier '{tier}' of checks{did_you_mean(tier, (*TIERS, 'all'))}")
    expected = dict(expected_failures or {})
    found = [
        Case(subject, known, expected.get(f"{subject.id}/{known.name}", expected.get(known.name, "")))
        for subject in subjects(name)
        for known in checks_for(subject.kind)
    ]
    names = {case.id for case in found} | {case.check.name for case in found}
    for asked, reason in expected.items():
        if asked not in names:
            raise HashzooError(f"'{name}' has no check '{asked}'{did_you_mean(asked, names)}")
        if not reason.strip():
            raise HashzooError(f"say why '{asked}' is expected to fail: {{'{asked}': 'the reason'}}")
    return [case for case in found if tier in (case.check.tier, "all")]


def run(case: Case) -> Finding:
    """Run one case. An expected failure that passes has failed: the expectation is out of date."""
    start = time.perf_counter()
    outcome, message = PASSED, ""
    try:
        message = case.not_applicable()
        if message:
            outcome = NOT_APPLICABLE
        else:
            case.check.run(case.subject)
    except (Exception, SystemExit) as error:
        outcome, message = FAILED, sentence(error)
    if case.expected and outcome == FAILED:
        outcome, message = EXPECTED, f"{case.expected} ({message})"
    elif case.expected and outcome == PASSED:
        outcome, message = FAILED, f"it is expected to fail ({case.expected}) but passes; take it off the list"
    return Finding(case.subject.id, case.check.name, outcome, round(time.perf_counter() - start, 3), message)


def sentence(error: BaseException) -> str:
    """What a check says; under pytest, which takes assertions apart, values follow on further lines."""
    return str(error).partition("\n")[0] if isinstance(error, AssertionError) else one_line(error)


def check_plugin(
    name: str,
    expected_failures: Mapping[str, str] | None = None,
    tier: str = "all",
    watch: Callable[[Finding], None] = lambda finding: None,
) -> Report:
    """Run all checks of a plugin (or of one thing that it offers); `watch` sees each finding as it is made."""
    report = Report(name)
    for case in cases(name, expected_failures, tier):
        report.findings.append(run(case))
        watch(report.findings[-1])
    return report
