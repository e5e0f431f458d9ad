"""A method with everything chosen: the classes behind its names, and every setting with its origin."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from hashzoo.errors import HashzooError, did_you_mean, one_line
from hashzoo.plugin import Method
from hashzoo.processors import available_threads
from hashzoo.settings import SECTIONS, SHARED, Assignment, Value, convert, keywords, plain, resolve
from hashzoo.storage.files import canonical_json
from hashzoo.zoo import Plugin, Zoo, resolve_target

ROLES = ("image", "text")
# The pair that works without any model hub, and completes a pair of which only one half is named.
LITE = {"image": "lite0", "text": "minilm"}
# What the core passes to constructors itself; all other keywords are settings.
GIVEN = {
    "image": ("modality",),
    "text": ("modality",),
    "image_head": ("widths", "bits"),
    "text_head": ("widths", "bits"),
    "dataset": ("variant", "argument"),
}
# How the features of every encoder are computed and kept, the usual first; settings beside the constructor's keywords.
EXTRACTION = {"precision": ("float32", "bfloat16"), "stored": ("float32", "float16")}


@dataclass(frozen=True)
class Cell:
    """What one run is asked for: `encoders` is one entry of `--encoders`, `swept` what it has of swept settings."""

    method: str
    encoders: str
    bits: int
    seed: int
    swept: tuple[Assignment, ...] = ()


@dataclass(frozen=True)
class Section:
    """One part of a recipe: its class, the plugin it comes from, its settings."""

    target: type
    plugin: Plugin
    settings: Mapping[str, Value]

    def build(self, *arguments: Any, **given: Any) -> Any:
        """Call the constructor; a setting that it refuses with ValueError is the user's to correct.

        Anything else that it raises is the fault of its plugin.
        """
        try:
            return self.target(*arguments, **given, **plain(self.settings))
        except ValueError as error:
            raise HashzooError(f"{self.target.__name__} refuses its settings: {error}") from error
        except HashzooError:
            raise
        except (Exception, SystemExit) as error:
            raise HashzooError(
                f"plugin '{self.plugin.name}' ({self.plugin.origin}): {self.target.__name__} cannot be built: "
                f"{one_line(error)}",
                exit_code=1,
            ) from error


@dataclass(frozen=True)
class Recipe:
    """A method, its encoders by role (images, texts, then further ones), and a Section for each part that it has.

    `frozen` says whether the encoders of images and of texts stay as they are (further ones always do), `extraction`
    how the features of each role are computed and kept (see `hashzoo.features.extraction`), `further` what the
    encoders of further roles are and who said so.
    """

    method: Method
    plugin: Plugin
    encoders: Mapping[str, str]
    sections: Mapping[str, Section]
    frozen: Mapping[str, Value]
    extraction: Mapping[str, Mapping[str, Value]]
    further: Mapping[str, Value]

    def settings(self) -> dict[str, dict[str, Any]]:
        """Every setting as {"trainer.lr": {"value": ..., "origin": ...}}."""
        values = {f"{name}.{key}": v for name, part in self.sections.items() for key, v in part.settings.items()}
        values |= {f"{role}.frozen": value for role, value in self.frozen.items()}
        values |= {f"{role}.encoder": value for role, value in self.further.items()}
        values |= {f"{role}.{key}": value for role, how in self.extraction.items() for key, value in how.items()}
        return {name: {"value": value.value, "origin": value.origin} for name, value in sorted(values.items())}

    def plugins(self) -> list[Plugin]:
        """Every plugin that a part of this recipe comes from, each once."""
        return sorted(
            {p.name: p for p in (self.plugin, *(s.plugin for s in self.sections.values()))}.values(),
            key=lambda plugin: plugin.name,
        )

    def threads(self, asked: int | None) -> int:
        """The CPU threads of a training run.

        Unless asked otherwise one, where both encoders are frozen: heads are small, more threads hardly help,
        and the codes do not depend on the number of processors. All there are, to train an encoder along.
        """
        if asked is not None:
            return asked
        return 1 if all(value.value for value in self.frozen.values()) else available_threads()

    def outputs(self, role: str) -> tuple[str, ...]:
        """Named outputs of the encoder of a role that the method asks for; none of a further role."""
        return {"image": self.method.image_outputs, "text": self.method.text_outputs}.get(role, ())

    def encoder(self, role: str) -> Any:
        """The encoder of a role, constructed; what follows the colon of its name is the first argument.

        Weights that `hashzoo pretrain` made are loaded here, into an untrained one: no encoder need know of them.
        """
        section = self.sections[role]
        weights, trained = self.trained(role)
        if trained:
            section = replace(section, settings={**section.settings, "weights": Value("random", "method")})
        _, _, argument = self.encoders[role].partition(":")
        wanted = modality_of(role)
        given = {"modality": wanted} if "modality" in inspect.signature(section.target).parameters else {}
        encoder = section.build(*([argument] if argument else []), **given)
        modality = getattr(encoder, "modality", None)
        if modality not in ROLES:
            raise HashzooError(
                f"plugin '{section.plugin.name}' ({section.plugin.origin}): {section.target.__name__} does not say "
                f"what it encodes; its `modality` must be image or text",
                exit_code=1,
            )
        if modality != wanted:
            advice = "write IMAGE+TEXT" if role in ROLES else f"choose another with --set {role}.encoder=NAME"
            raise HashzooError(f"'{self.encoders[role]}' encodes {modality}s, not {wanted}s; {advice}")
        if trained:
            from hashzoo.encoders.trained import load_trained

            load_trained(encoder, weights)
        return encoder

    def trained(self, role: str) -> tuple[str, dict[str, Any] | None]:
        """The setting `weights` of an encoder, and the card of the file where `hashzoo pretrain` made it."""
        from hashzoo.encoders.trained import card_of

        weights = self.sections[role].settings.get("weights")
        return ("", None) if weights is None else (str(weights.value), card_of(weights.value))


def build(zoo: Zoo, name: str, encoders: Mapping[str, str], assignments: Iterable[Assignment]) -> Recipe:
    """Look up everything that a method names, import it, and resolve its settings.

    An assignment without a method's name is skipped where the method has no such setting; see `check_used`.

    Args:
        encoders: of images and texts; a further role that is not among them has the encoder of its modality.
    """
    plugin, method = zoo.find("method", name)
    mine = [a for a in assignments if a.method in (None, method.name)]
    heads = {"image_head": method.image_head, "text_head": method.text_head}
    targets: dict[str, tuple[Plugin, str]] = {name: (plugin, head) for name, head in heads.items() if head}
    further = {role: _further(role, encoders, mine) for role in method.extra}
    encoders = {role: encoders[role] for role in ROLES} | {role: str(value.value) for role, value in further.items()}
    for role in encoders:
        owner, part = zoo.find("encoder", encoders[role].partition(":")[0])
        targets[role] = (owner, part.target)
    for kind in ("loss", "trainer"):
        if getattr(method, kind):
            owner, part = zoo.find(kind, getattr(method, kind))
            targets[kind] = (owner, part.target)

    sections: dict[str, Section] = {}
    for section in (*SECTIONS, *further):
        if section not in targets:
            continue
        owner, path = targets[section]
        target = resolve_target(owner, path)
        given = GIVEN.get("image" if section in encoders else section, ())
        if section in encoders and ":" in encoders[section]:
            given = (*given, _first_argument(target, encoders[section]))
        known = keywords(target, given)
        core = [key for key in ("frozen", *EXTRACTION) if section in ROLES and key not in known]
        core += ["encoder", *(key for key in EXTRACTION if key not in known)] if section in further else []
        recipe = {key: v for key, v in method.settings.items() if key not in [f"{section}.{name}" for name in core]}
        if section in encoders and encoders[section] != _named(method, section):
            # The recipe's settings of an encoder are for the encoder that it names.
            recipe = {key: value for key, value in recipe.items() if not key.startswith(f"{section}.")}
        usable = [a for a in mine if a.section == section and a.key not in core and (a.method or a.key in known)]
        settings = resolve(section, target, recipe, usable, given)
        if section in further and encoders[section] == encoders[modality_of(section)]:
            settings = _taken_over(sections[modality_of(section)].settings, settings)
        _check_storable(section, owner, settings)
        sections[section] = Section(target, owner, settings)
    frozen = {role: _frozen(role, method, mine) for role in ROLES}
    for role in ROLES:
        if not heads[f"{role}_head"] and not frozen[role].value:
            raise HashzooError(
                f"'{method.name}' makes {role} codes with modules of its own, which take features of a frozen encoder; "
                f"leave out {role}.frozen=false"
            )
    extraction: dict[str, Mapping[str, Value]] = {}
    for role in encoders:
        extraction[role] = {key: _choice(role, key, mine) for key in EXTRACTION if key not in sections[role].settings}
        if role in further and encoders[role] == encoders[modality_of(role)]:
            extraction[role] = _taken_over(extraction[modality_of(role)], extraction[role])
    nowhere = [a for a in mine if a.method and a.section not in sections]
    if nowhere:
        raise HashzooError(f"'{name}' has no {nowhere[0].section}{did_you_mean(nowhere[0].section, sections)}")
    return Recipe(method, plugin, encoders, sections, frozen, extraction, further)


def modality_of(role: str) -> str:
    """What the encoder of a role encodes: "image" of "image" and of "teacher_image"."""
    return role.rpartition("_")[2]


def check_used(assignments: Iterable[Assignment], recipes: Iterable[Recipe]) -> None:
    """Refuse an assignment that no method of the bench has a use for."""
    recipes = list(recipes)
    for assignment in assignments:
        if assignment.method is not None or assignment.section in SHARED:
            continue
        known = {key for recipe in recipes for key in recipe.settings()}
        path = f"{assignment.section}.{assignment.key}"
        if path not in known:
            inside = {key for key in known if key.startswith(f"{assignment.section}.")}
            raise HashzooError(f"no method asked for has the setting '{path}'{did_you_mean(path, inside or known)}")


def parse_encoders(spec: str, zoo: Zoo) -> list[str]:
    """Split "lite,paper,IMAGE+TEXT,..." and check each name that is written out."""
    parts = [part.strip() for part in spec.split(",")]
    if not all(parts):
        raise HashzooError("--encoders has an empty entry; write lite, paper, or pairs such as lite0+minilm")
    if len(set(parts)) != len(parts):
        raise HashzooError(f"--encoders names something twice: {spec}")
    for part in parts:
        if part not in ("lite", "paper"):
            for name in part.split("+"):
                zoo.find("encoder", name.partition(":")[0])
    return parts


def pair_of(spec: str, method: Method, zoo: Zoo, raw: Collection[str] = ROLES) -> dict[str, str]:
    """The encoder of each role for one entry of `--encoders` and one method; of further roles only "paper" says any.

    "lite" is lite0+minilm, "paper" is what the method names, both as far as the data set has `raw` items and
    its own features otherwise; "A+B" is A for images and B for texts; one name alone stands for both roles
    if the encoder serves both, and is completed by lite otherwise.
    """
    if spec in ("lite", "paper"):
        found = dict(LITE) if spec == "lite" else {"image": method.image, "text": method.text, **method.extra}
        return {role: name if modality_of(role) in raw else "given" for role, name in found.items()}
    names = spec.split("+")
    if len(names) > 2:
        raise HashzooError(f"'{spec}' names {len(names)} encoders; write IMAGE+TEXT")
    if len(names) == 2:
        return dict(zip(ROLES, names, strict=True))
    owner, part = zoo.find("encoder", spec.partition(":")[0])
    target = resolve_target(owner, part.target)
    if "modality" in inspect.signature(target).parameters:
        return {"image": spec, "text": spec}
    modality = getattr(target, "modality", None)
    if modality not in ROLES:
        raise HashzooError(f"'{spec}' does not say whether it encodes images or texts; write IMAGE+TEXT")
    return LITE | {modality: spec}


def _check_storable(section: str, owner: Plugin, settings: Mapping[str, Value]) -> None:
    """Settings are part of a run's key: each must be a value that JSON has."""
    for name, value in settings.items():
        try:
            canonical_json(value.value)
        except (TypeError, ValueError) as error:
            raise HashzooError(
                f"plugin '{owner.name}' ({owner.origin}): the {value.origin} of {section}.{name} is {value.value!r}, "
                f"which cannot be written as JSON; settings are numbers, words, true, false, none and lists of them",
                exit_code=1,
            ) from error


def _named(method: Method, role: str) -> str:
    """The encoder that a method names for a role."""
    return getattr(method, role) if role in ROLES else method.extra[role]


def _further(role: str, encoders: Mapping[str, str], assignments: Iterable[Assignment]) -> Value:
    """The encoder of a further role: what the user says, or `encoders`, or else that of its modality."""
    value = Value(encoders.get(role, encoders[modality_of(role)]), "method" if role in encoders else "default")
    for assignment in assignments:
        if (assignment.section, assignment.key) == (role, "encoder"):
            value = Value(assignment.text, "user")
    return value


def _taken_over(pair: Mapping[str, Value], own: Mapping[str, Value]) -> dict[str, Value]:
    """Settings of a further role with an encoder of the pair: those of the pair, unless it has others of its own."""
    return {name: Value(pair[name].value, "default") if own[name].origin == "default" else own[name] for name in own}


def _first_argument(target: Any, encoder: str) -> str:
    """The keyword that takes what follows the colon of an encoder's name; it is no setting beside."""
    names = [name for name in inspect.signature(target).parameters if name != "modality"]
    if not names:
        base, _, argument = encoder.partition(":")
        raise HashzooError(f"encoder '{base}' takes nothing after a colon; leave out ':{argument}'")
    return names[0]


def _frozen(role: str, method: Method, assignments: Iterable[Assignment]) -> Value:
    value = Value(True, "default")
    if f"{role}.frozen" in method.settings:
        value = Value(bool(method.settings[f"{role}.frozen"]), "method")
    for assignment in assignments:
        if (assignment.section, assignment.key) == (role, "frozen"):
            value = Value(convert(assignment.text, bool, assignment.path), "user")
    return value


def _choice(role: str, key: str, assignments: Iterable[Assignment]) -> Value:
    value = Value(EXTRACTION[key][0], "default")
    for assignment in assignments:
        if (assignment.section, assignment.key) == (role, key):
            if assignment.text not in EXTRACTION[key]:
                raise HashzooError(f"{assignment.path} is {' or '.join(EXTRACTION[key])}, not '{assignment.text}'")
            value = Value(assignment.text, "user")
    return value
