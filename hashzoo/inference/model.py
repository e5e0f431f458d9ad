"""A trained model: the encoders and towers of a run, ready for new texts and pictures.

A run says in run.json what its towers are made of, and keeps their parameters in model.safetensors. A collection holds
a copy of both in its folder model/, and beside them what a run finds in its data set or on its machine:

    image.safetensors, text.*    the state of an encoder that was fitted, or whose weights lie in a file of the user's
    probes.safetensors           what the model gave for a few fixed items: `Model.check` tells whether it still does
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor, nn

from hashzoo import zoo
from hashzoo.benches.plan import find_device
from hashzoo.benches.reopening import reopen
from hashzoo.benches.run import versions
from hashzoo.benches.track import Track
from hashzoo.benches.workbench import Workbench, full_card
from hashzoo.codes import Codes, pack
from hashzoo.data.pictures import open_picture
from hashzoo.encoders.base import Encoder, Width, numbers
from hashzoo.encoders.lookup import Lookup
from hashzoo.encoders.trained import read_tensors
from hashzoo.errors import HashzooError
from hashzoo.features.extraction import Extraction, features
from hashzoo.model import Tower, Towers
from hashzoo.recipe import ROLES, Recipe, build
from hashzoo.settings import Value, plain
from hashzoo.storage.arrays import Selected, take
from hashzoo.storage.files import read_json
from hashzoo.train import Job, Rows

MODEL = "model"  # the folder of a collection that holds its model
RUN, STATE, PROBES = "run.json", "model.safetensors", "probes.safetensors"
PROBED = ("a red car in front of a house", "two dogs on the beach", "", "42")
TOLERANCE = 0.02  # of the probes' mean outputs: far more than processors differ by


@dataclass(eq=False)
class Model:
    """The encoders and towers of a run. Several threads may encode at once.

    An encoder is built when it is needed first: who encodes texts alone never waits for that of pictures, unless the
    towers hold it.

    Attributes:
        about: what run.json says.
        recipe: the method with everything chosen, as it was.
        folder: where model.safetensors lies.
        copied: whether that is the copy in a collection, and not the run itself.
        device: where encoders and towers are.
    """

    about: Mapping[str, Any]
    recipe: Recipe
    folder: Path
    copied: bool
    device: torch.device

    def __post_init__(self) -> None:
        self._building = threading.RLock()
        self._tokenising, self._in_tower = threading.Lock(), threading.Lock()
        self._encoders: dict[str, Encoder] = {}
        self._towers: dict[str, nn.Module] = {}

    @property
    def bits(self) -> int:
        """Code length."""
        return self.about["bits"]

    @property
    def widths(self) -> dict[str, dict[str, Width]]:
        """What the towers take, by role: the width of each named output."""
        told: dict[str, dict[str, Any]] = self.about["widths"]
        return {
            role: {name: tuple(width) if isinstance(width, list) else width for name, width in named.items()}
            for role, named in told.items()
        }

    @property
    def name(self) -> str:
        """What it is in a few words: "soda, lite0+minilm, 64 bits"."""
        return f"{self.about['method']}, {'+'.join(self.recipe.encoders[role] for role in ROLES)}, {self.bits} bits"

    def encodes(self, role: str) -> bool:
        """Whether new items of a modality can be encoded: features that were given, or looked up, cannot be made."""
        return not issubclass(self.recipe.sections[role].target, Lookup)

    def encode_texts(self, strings: Sequence[str]) -> tuple[Codes, np.ndarray]:
        """Codes of n texts, and the real values that they are the signs of, (n, bits) float32."""
        return self._encoded("text", strings)

    def encode_images(self, pictures: Sequence[Image.Image | Path | str]) -> tuple[Codes, np.ndarray]:
        """Codes of n pictures, RGB ones or files, and the real values that they are the signs of, (n, bits) float32."""
        return self._encoded("image", [p if isinstance(p, Image.Image) else open_picture(Path(p)) for p in pictures])

    def prepare(self, role: str, item: Any) -> Tensor:
        """An item as its encoder takes it."""
        encoder = self.encoder(role)
        if role == "image":
            return encoder.prepare(item)
        with self._tokenising:  # tokenisers are rarely made for several threads
            return encoder.prepare(item)

    def features(self, role: str, prepared: Tensor) -> Tensor:
        """A batch of prepared items as features on the CPU, (B, width)."""
        return features(self.encoder(role), prepared, self.widths[role], self.extraction(role))

    def outputs(self, role: str, rows: Tensor) -> Tensor:
        """A batch of features as real values on the CPU, (B, bits) float32; bit = value > 0."""
        tower = self.tower(role)
        with self._in_tower, torch.no_grad():  # unlike encoders, towers are not promised to serve several threads
            values = tower(rows.to(self.device).float()).float().cpu()
        if values.shape != (len(rows), self.bits):
            raise self._failed(f"gave {tuple(values.shape)[1:]} values a {role}, not {self.bits}")
        if not torch.isfinite(values).all():
            raise self._failed(f"gave values of {role}s that are not finite")
        return values

    def extraction(self, role: str) -> Extraction:
        """How features of a modality are computed."""
        settings = self.recipe.extraction[role] if self.recipe.frozen[role].value else {}
        return Extraction(self.device, **plain(settings))

    def encoder(self, role: str) -> Encoder:
        """The encoder of a modality as the towers know it, in evaluation mode."""
        if not self.encodes(role):
            raise HashzooError(
                f"the model looks up the features of {role}s ({self.recipe.encoders[role]}), so that new ones cannot "
                f"be encoded; train with an encoder that computes them, such as --encoders lite"
            )
        with self._building:
            if role not in self._encoders:
                if self.recipe.frozen[role].value:
                    self._encoders[role] = self._frozen(role).eval().to(self.device)
                else:
                    self._load_towers()
            return self._encoders[role]

    def share_encoder(self, role: str, other: Model) -> None:
        """Take the encoder of another model, whose card is the same, instead of building one."""
        encoder = other.encoder(role)
        with self._building:
            self._encoders[role] = encoder

    def tower(self, role: str) -> nn.Module:
        """The tower of a modality, from features to (B, bits), in evaluation mode."""
        with self._building:
            if not self._towers:
                self._load_towers()
            return self._towers[role]

    def outputs_of_rows(self, role: str, inputs: np.ndarray | Selected, rows: np.ndarray) -> np.ndarray:
        """Real values of rows of a data set, (n, bits) float32.

        Args:
            inputs: of all rows, as a workbench has them for this recipe: features, or prepared items where the encoder
                is in the towers.
            rows: (n,) row numbers.
        """
        values = torch.from_numpy(take(inputs, rows))
        if not self.recipe.frozen[role].value:
            values = torch.cat([self.features(role, part) for part in values.split(self.extraction(role).rows)])
        return self.outputs(role, values).numpy()

    def check(self) -> None:
        """Raise unless the model of a collection still gives what it gave when it was copied. This warms it up, too."""
        if not self.copied:
            return
        for role, wanted in read_tensors(self.folder / PROBES)[0].items():
            found = torch.from_numpy(self._encoded(role, probes(role))[1])
            if (found - wanted).abs().mean() > TOLERANCE * wanted.abs().mean():
                was, now = self.about["versions"], versions()
                changed = [f"{name} {was[name]}, now {now.get(name)}" for name in was if was[name] != now.get(name)]
                raise HashzooError(
                    f"the model of this collection gives other {role} codes here than where it was made "
                    f"({'; '.join(changed) or 'with equal versions'}); install what it was made with, or encode again",
                    exit_code=1,
                )

    def files(self) -> dict[str, Path | bytes]:
        """What a collection keeps to encode new items, beside installed packages: files by name, or their content."""
        kept: dict[str, Path | bytes] = {name: self.folder / name for name in (RUN, STATE)}
        given = {}
        for role in filter(self.encodes, ROLES):
            encoder = self.encoder(role)
            if self.recipe.frozen[role].value and (_is_fitted(encoder) or self._own_weights(role)):
                kept[f"{role}.safetensors"] = _as_bytes(encoder.state_dict())
            given[role] = torch.from_numpy(self._encoded(role, probes(role))[1])
        return kept | {PROBES: _as_bytes(given)}

    def _encoded(self, role: str, items: Sequence[Any]) -> tuple[Codes, np.ndarray]:
        values = torch.empty((0, self.bits))
        if items:
            prepared = torch.stack([self.prepare(role, item) for item in items])
            values = self.outputs(role, self.features(role, prepared))
        return pack(values.numpy()), values.numpy()

    def _frozen(self, role: str) -> Encoder:
        """A frozen encoder, as it was when the run was trained."""
        kept = self.folder / f"{role}.safetensors"
        if self.copied and kept.exists():
            encoder = self._untrained(role)
            try:
                encoder.load_state_dict(read_tensors(kept)[0])
            except (RuntimeError, KeyError, ValueError) as error:
                raise self._other_version(f"the {role} encoder's state does not fit it") from error
            return encoder
        encoder = self.recipe.encoder(role)
        card = full_card(encoder, self.recipe, role, self.extraction(role)) if not _is_fitted(encoder) else {}
        if _is_fitted(encoder) and not self.copied:
            track = self.track()
            dataset = reopen(self.folder.resolve().parent.parent, track)
            described = Workbench(dataset, track, self.device, None).described(self.recipe, role)
            encoder, card = described.encoder, dict(described.card)
        was = self.about["encoders"][role]["card"]
        if card != was:
            differs = sorted(key for key in {*card, *was} if card.get(key) != was.get(key))
            raise HashzooError(
                f"encoder '{self.recipe.encoders[role]}' is not what it was when the model was trained "
                f"({', '.join(differs)}); install the versions that run.json names, or train again",
                exit_code=1,
            )
        return encoder

    def _untrained(self, role: str) -> Encoder:
        """An encoder that is about to be given its state: pretrained weights would be read in vain."""
        section = self.recipe.sections[role]
        if "weights" not in section.settings:
            return self.recipe.encoder(role)
        settings = {**section.settings, "weights": Value("random", "method")}
        sections = {**self.recipe.sections, role: replace(section, settings=settings)}
        return replace(self.recipe, sections=sections).encoder(role)

    def _own_weights(self, role: str) -> bool:
        """Whether the weights of an encoder lie in a file that the user named."""
        weights = self.recipe.sections[role].settings.get("weights")
        return weights is not None and weights.value not in ("pretrained", "random")

    def track(self) -> Track:
        """The track of the run, in whose folder it lies."""
        return Track.load(self.folder.resolve().parent.parent)

    def _load_towers(self) -> None:
        """Fresh towers of the trainer's kind, with the parameters of the run; encoders that they hold are taken out."""
        inside = {role: self._untrained(role) for role in ROLES if not self.recipe.frozen[role].value}
        widths = self.widths

        def tower(role: str) -> Tower:
            head = self.recipe.sections[f"{role}_head"].build(widths=widths[role], bits=self.bits)
            return Tower(head, widths[role], inside.get(role))

        job = Job(
            train=_no_rows(widths, len(self.about["classes"]), self.device),
            bits=self.bits,
            classes=tuple(self.about["classes"]),
            widths=widths,
            loss=None,
            device=self.device,
            generator=torch.Generator().manual_seed(0),
            towers=lambda: Towers(tower("image"), tower("text")).to(self.device),
            text_inputs=None,
            log=lambda **terms: None,
        )
        with torch.random.fork_rng():
            towers = self.recipe.sections["trainer"].build().towers(job)
        try:
            towers.load_state_dict(read_tensors(self.folder / STATE)[0])
        except (RuntimeError, KeyError, ValueError) as error:
            raise self._other_version("its parameters do not fit the towers that it builds now") from error
        towers.eval().requires_grad_(False)
        for role in ROLES:
            part = getattr(towers, role)
            if role in inside:
                # What follows takes features: the encoder alone is promised to serve several threads.
                self._encoders[role], part.encoder = part.encoder, None
            self._towers[role] = part

    def _other_version(self, reason: str) -> HashzooError:
        plugin = self.about["plugin"]
        return HashzooError(
            f"the model of '{self.about['method']}' cannot be loaded: {reason}; it was made with "
            f"{plugin['distribution']} {plugin['version']}: install that, or train again",
            exit_code=1,
        )

    def _failed(self, reason: str) -> HashzooError:
        return HashzooError(f"a tower of '{self.about['method']}' {reason}; train it again", exit_code=1)


def load_model(folder: Path | str, device: str = "auto") -> Model:
    """The model of a run or of a collection; what it says of itself is read, and nothing heavy is built yet.

    Args:
        folder: of a run, as `hashzoo train` prints it, or of a collection, as `hashzoo encode` makes it.
        device: "auto", "cpu", "cuda" or "cuda:N".

    Raises:
        HashzooError: there is no trained model, or what it is made of is not installed here.
    """
    folder = Path(folder)
    place = folder if (folder / RUN).is_file() else folder / MODEL
    if not (place / RUN).is_file():
        raise HashzooError(
            f"{folder} is neither a run nor a collection; give a folder that hashzoo train or hashzoo encode made"
        )
    if not (place / STATE).is_file():
        raise HashzooError(f"the run in {folder} was not finished, so that it has no model; train it again")
    about = read_json(place / RUN)
    try:
        missing = [
            name for name in ("method", "encoders", "settings", "bits", "plugin", "versions") if name not in about
        ]
        if missing or not {"classes", "widths"} <= set(about):
            raise KeyError(*(missing or ["classes"]))
        recipe = _recipe_of(about)
    except (KeyError, TypeError, AttributeError) as error:
        raise HashzooError(
            f"{place / RUN} is damaged or of an older hashzoo ({error} is missing); train again with the same bench",
            exit_code=1,
        ) from error
    return Model(about, recipe, place, (place / PROBES).is_file(), find_device(device))


def probes(role: str) -> list[Any]:
    """The fixed items of `Model.check`: texts, or drawn pictures of several shapes."""
    if role == "text":
        return list(PROBED)
    made = []
    for height, width in ((64, 64), (90, 160), (200, 80)):
        y, x = np.mgrid[:height, :width]
        waves = np.sin(x / 7) + np.sin(y / 11), x / width + y / height, ((x // 16 + y // 16) % 2) + 0.0 * x
        scaled = [(channel - channel.min()) / max(float(np.ptp(channel)), 1.0) * 255 for channel in waves]
        made.append(Image.fromarray(np.stack(scaled, axis=-1).astype(np.uint8)))
    return made


def _recipe_of(about: Mapping[str, Any]) -> Recipe:
    """The recipe of a run with the settings that it had, whatever the defaults are now."""
    encoders = {role: about["encoders"][role]["name"] for role in ROLES}
    try:
        recipe = build(zoo.load(), about["method"], encoders, ())
    except HashzooError as error:
        made_by = ", ".join(f"{card['distribution']} {card['version']}" for card in about["plugins"].values())
        raise HashzooError(f"{error}; the model was made with {made_by}", exit_code=error.exit_code) from error
    was = {name: Value(_plain(given["value"]), given["origin"]) for name, given in about["settings"].items()}
    sections = {
        name: replace(section, settings={key: was.get(f"{name}.{key}", now) for key, now in section.settings.items()})
        for name, section in recipe.sections.items()
    }
    frozen = {role: was.get(f"{role}.frozen", now) for role, now in recipe.frozen.items()}
    extraction = {
        role: {key: was.get(f"{role}.{key}", now) for key, now in how.items()}
        for role, how in recipe.extraction.items()
    }
    return replace(recipe, sections=sections, frozen=frozen, extraction=extraction)


def _plain(value: Any) -> Any:
    """A setting as its constructor had it: JSON has no tuples."""
    return tuple(map(_plain, value)) if isinstance(value, list) else value


def _as_bytes(state: Mapping[str, Tensor]) -> bytes:
    """Tensors in the safetensors format; copies, since those that share memory cannot be written."""
    return safetensors.torch.save({name: tensor.detach().cpu().clone().contiguous() for name, tensor in state.items()})


def _is_fitted(encoder: Encoder) -> bool:
    return type(encoder).fit is not Encoder.fit


def _no_rows(widths: Mapping[str, Mapping[str, Width]], classes: int, device: torch.device) -> Rows:
    image, text = (np.empty((0, sum(map(numbers, widths[role].values()))), dtype=np.float32) for role in ROLES)
    return Rows(image, text, np.empty((0, classes), dtype=np.bool_), device)
