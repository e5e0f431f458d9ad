"""Any image model of timm as a feature extractor."""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from PIL.Image import Image
from torch import Tensor

from hashzoo.encoders.base import Encoder, MissingWeights
from hashzoo.encoders.pixels import Normalise, check_pixels, square
from hashzoo.encoders.tokens import SIDE, in_grid
from hashzoo.encoders.weights import files_in, hub, hub_files, hub_reason, quiet, seeded, weights_card, weights_path
from hashzoo.errors import HashzooError
from hashzoo.storage.files import read_json

# timm takes a second to import, and is not needed where all features are cached.
if TYPE_CHECKING:
    from timm.models import PretrainedCfg

HUB, FOLDER = "hf-hub:", "local-dir:"
FILES = ("model.safetensors", "pytorch_model.bin")  # what timm writes into a folder


class TimmEncoder(Encoder):
    """The pooled features of a timm model, and the pooled feature maps of its stages.

    Preprocessing (size, crop, interpolation, mean, std) is the one that timm records for the tag, or that
    the configuration of the repository or folder says.
    `outputs` are "stage1" (shallow) to "stageN" (deep): the global average pool of every feature
    map at stride 4 and deeper, which for a ResNet are its four stages; and "tokens", the map that becomes
    the feature vector (of a transformer its patches, after the last norm), averaged over a grid of 4 x 4.

    Args:
        name: a timm name with or without tag, such as "resnet50.a1_in1k"; "hf-hub:OWNER/NAME" for another
            repository of the hub that timm wrote, "local-dir:FOLDER" for such a folder.
        weights: "pretrained" (the name's own), a file, or "random".
        pixels: side of the square input; 0 takes the size that is recorded for the name. Where positions are
            learned, those of weights for another size are interpolated as timm does it.
    """

    modality = "image"
    known_as = ""  # what the user types, where it is not "timm:" and the name
    path_help = "a .safetensors or .pth file with the state dict of this timm model"
    model: Any

    def __init__(self, name: str = "", weights: str = "pretrained", pixels: int = 0):
        import timm

        super().__init__()
        self.name = self.known_as or f"timm:{name}"
        source = self._source(name)
        cfg = source.cfg
        self.weights = weights
        self.pixels = check_pixels(pixels, self.name) if pixels else cfg.input_size[-1]
        self.resize = math.floor(self.pixels / cfg.crop_pct)
        self.mode = {"center": "shortest", "squash": "squash"}[cfg.crop_mode or "center"]
        self.interpolation = cfg.interpolation
        self.normalise = Normalise(cfg.mean, cfg.std)

        # Models with learned positions are built for one input size; the others take any.
        arguments = {**source.arguments, "num_classes": 0}
        if pixels and cfg.fixed_input_size:
            arguments["img_size"] = self.pixels
        if not name.startswith((HUB, FOLDER)) and weights == "pretrained":
            if not cfg.has_weights:
                raise MissingWeights(self.name, "timm publishes none for it", self.path_help)
            arguments["pretrained"] = True
        try:
            with seeded(), hub() if arguments.get("pretrained") else quiet():
                self.model = timm.create_model(source.architecture, **arguments)
        except OSError as error:
            raise MissingWeights(self.name, hub_reason(error), self.path_help) from error
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            raise HashzooError(f"timm cannot build '{name}' for {self.pixels} pixels ({error})") from error
        self.files = files_in(_folder(name)) if name.startswith(FOLDER) else None if name.startswith(HUB) else []
        if weights not in ("pretrained", "random"):
            path = weights_path(weights, self.name, self.path_help)
            self.files = None if self.files is None else [*self.files, path]
            self._load(self._read(path), cfg, str(path))
        elif weights == "pretrained" and name.startswith(FOLDER):
            path = _file_in(_folder(name), self.name)
            self._load(self._read(path), cfg, str(path))
        elif weights == "pretrained" and name.startswith(HUB):
            self._load(self._fetch(name.removeprefix(HUB)), cfg, name)
        elif weights == "pretrained":
            self.files = _fetched(self.model.pretrained_cfg)
        self.eval()
        self.dim = int(getattr(self.model, "head_hidden_size", None) or self.model.num_features)
        self._places, self._stages = _stages(self.model)
        self.outputs = {**self._stages, "tokens": (SIDE * SIDE, int(self.model.num_features))} if self._stages else {}

    def prepare(self, item: Image) -> Tensor:
        """An image of any size as (3, pixels, pixels) uint8."""
        return square(item, self.pixels, resize=self.resize, mode=self.mode, interpolation=self.interpolation)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, pixels, pixels) uint8 to (B, dim) float32."""
        return self.model(self._input(x)).float()

    def forward_outputs(self, x: Tensor) -> dict[str, Tensor]:
        """The features, the stages and the tokens of a batch, from one pass."""
        if not self.outputs:
            return {"pooled": self(x)}
        if self._places:
            last, maps = self.model.forward_intermediates(self._input(x), indices=self._places)
        else:
            last, maps = self.model.forward_features(self._input(x)), []
        found = {name: stage.mean((2, 3)).float() for name, stage in zip(self._stages, maps, strict=True)}
        tokens = in_grid(_map_of(self.model, last)).float()
        return {"pooled": self.model.forward_head(last).float(), **found, "tokens": tokens}

    def card(self) -> dict[str, Any]:
        return {
            "encoder": self.name,
            "architecture": self.model.pretrained_cfg["architecture"],
            "pixels": self.pixels,
            "resize": [self.mode, self.resize, self.interpolation],
            **self.normalise.card(),
            "precision": "fp32",
            "outputs": dict(self._stages),
            **weights_card(self.model, self.weights),
        }

    def _input(self, x: Tensor) -> Tensor:
        # Convolutions on CPUs are up to 2.8 times faster in this layout.
        return self.normalise(x).contiguous(memory_format=torch.channels_last)

    def _source(self, name: str) -> Source:
        """What is known of a name before anything is built; one sentence when nothing is."""
        from timm.models import PretrainedCfg, load_model_config_from_hf

        if name.startswith(HUB):
            try:
                with hub():
                    cfg, architecture, arguments = load_model_config_from_hf(name.removeprefix(HUB))
            except OSError as error:
                raise MissingWeights(self.name, hub_reason(error), self.path_help) from error
            except Exception as error:  # a repository of some other library
                raise HashzooError(f"'{name}' is no repository that timm wrote; choose another model") from error
        elif name.startswith(FOLDER):
            folder = weights_path(name.removeprefix(FOLDER), self.name, "a folder that timm wrote")
            try:
                config = read_json(folder / "config.json")
                cfg, architecture, arguments = (
                    config["pretrained_cfg"],
                    config["architecture"],
                    config.get("model_args", {}),
                )
            except (HashzooError, OSError, KeyError, TypeError) as error:
                raise HashzooError(f"{folder} is no folder that timm wrote (config.json and {FILES[0]})") from error
        else:
            return Source(name, {}, _registered(name))
        try:
            found = PretrainedCfg(**{"architecture": architecture, **cfg})
        except TypeError as error:
            raise HashzooError(f"the configuration of '{name}' is not one of timm ({error})") from error
        _check_architecture(architecture)
        _check_input(name, found)
        # As a dict, or timm would look the architecture's own record up.
        return Source(architecture, {**arguments, "pretrained_cfg": found.to_dict()}, found)

    def _load(self, state: Mapping[str, Tensor], cfg: PretrainedCfg, where: str) -> None:
        """Put weights without their classifier into the model; each tensor must be there and fit."""
        heads = (cfg.classifier,) if isinstance(cfg.classifier, str) else tuple(cfg.classifier or ())
        classifier = tuple(f"{head}." for head in heads)
        state = {key: value for key, value in state.items() if not key.startswith(classifier)}
        if _shapes(state) != _shapes(self.model.state_dict()):
            state = _adapted(state, self.model)
        try:
            self.model.load_state_dict(state)
        except RuntimeError as error:
            found, wanted = set(state), set(self.model.state_dict())
            raise HashzooError(
                f"{where} does not fit encoder '{self.name}' ({len(wanted - found)} tensors missing, "
                f"{len(found - wanted)} unknown, or shapes differ); give {self.path_help}"
            ) from error

    def _fetch(self, repository: str) -> dict[str, Tensor]:
        """The state dict in a repository of the hub."""
        from timm.models import load_state_dict_from_hf

        try:
            with hub():
                return load_state_dict_from_hf(repository, weights_only=True)
        except Exception as error:  # of the hub, of safetensors, of pickle; a missing file is no OSError
            raise MissingWeights(self.name, hub_reason(error), self.path_help) from error

    def _read(self, path: Path) -> dict[str, Tensor]:
        """The state dict in a file, in timm's names; no code in the file is run."""
        from timm.models import load_state_dict

        try:
            with quiet():
                state = load_state_dict(str(path), weights_only=True)
            return {key: value for key, value in state.items() if isinstance(value, Tensor)}
        except Exception as error:  # torch, pickle, zip and safetensors raise many kinds
            raise HashzooError(f"{path} cannot be read as weights; give {self.path_help}") from error


class Source(NamedTuple):
    """What timm builds: an architecture, the arguments beside it, and what is recorded of the weights."""

    architecture: str
    arguments: Mapping[str, Any]
    cfg: PretrainedCfg


def _registered(name: str) -> PretrainedCfg:
    """What timm records for a name of its own; one sentence when it knows none."""
    if not name:
        raise HashzooError("encoder 'timm' needs the name of a model; type for example timm:resnet50.a1_in1k")
    if "/" in name or ":" in name:
        raise HashzooError(f"'{name}' is no name of timm; type timm:{HUB}OWNER/NAME, or timm:{FOLDER}FOLDER")
    import timm

    architecture, _, tag = name.partition(".")
    _check_architecture(architecture)
    try:
        cfg = timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{architecture}.*")]
        near = difflib.get_close_matches(tag, tags, n=1)
        hint = f"did you mean timm:{architecture}.{near[0]}?" if near else f"choose from: {', '.join(tags) or 'none'}"
        raise HashzooError(f"timm has no weights '{tag}' of '{architecture}'; {hint}") from error
    assert cfg is not None  # every model of timm has one
    _check_input(name, cfg)
    return cfg


def _check_architecture(architecture: str) -> None:
    import timm

    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=1, cutoff=0.7)
        hint = f"did you mean timm:{near[0]}?" if near else "timm.list_models() lists what there is"
        raise HashzooError(f"timm has no model '{architecture}'; {hint}")


def _check_input(name: str, cfg: PretrainedCfg) -> None:
    channels, height, width = cfg.input_size
    if channels != 3 or height != width or cfg.crop_mode == "border":
        raise HashzooError(f"timm:{name} does not take square RGB images; choose another timm model")


def _fetched(cfg: Mapping[str, Any]) -> list[Path] | None:
    """What timm has read from the hub's cache for a name of its own; None where it keeps that elsewhere."""
    from huggingface_hub import try_to_load_from_cache

    names = [cfg["hf_hub_filename"]] if cfg.get("hf_hub_filename") else FILES
    found = [try_to_load_from_cache(cfg.get("hf_hub_id") or "", name) for name in names]
    return next((hub_files(Path(path)) for path in found if isinstance(path, str)), None)


def _folder(name: str) -> Path:
    return Path(name.removeprefix(FOLDER)).expanduser()


def _file_in(folder: Path, encoder: str) -> Path:
    """The weights in a folder that timm wrote."""
    found = [folder / file for file in FILES if (folder / file).exists()]
    if not found:
        raise MissingWeights(encoder, f"there is no {' and no '.join(FILES)} in {folder}", TimmEncoder.path_help)
    return found[0]


def _adapted(state: dict[str, Tensor], model: Any) -> dict[str, Tensor]:
    """Weights in older names or with positions for another input size, as timm's own loader turns them round."""
    adapt = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    try:
        return adapt(dict(state), model) if adapt else state
    except Exception:  # made for files of this architecture, and this is none: strict loading says so
        return state


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {key: value.shape for key, value in state.items()}


def _map_of(model: Any, last: Tensor) -> Tensor:
    """What a model pools, (B, width, height, width), of a convolutional network or a transformer over patches."""
    if last.ndim == 4:
        return last.permute(0, 3, 1, 2) if getattr(model, "output_fmt", "NCHW") == "NHWC" else last
    patches = last[:, getattr(model, "num_prefix_tokens", 0) :]
    side = math.isqrt(patches.shape[1])
    if side * side != patches.shape[1]:
        raise HashzooError("the patches of this timm model make no square, so that it has no tokens; choose another")
    return patches.transpose(1, 2).unflatten(2, (side, side))


def _stages(model: Any) -> tuple[list[int], dict[str, int]]:
    """Places in timm's feature_info of the maps that become stages, and the widths of the stages."""
    if not hasattr(model, "forward_intermediates") or not getattr(model, "feature_info", None):
        return [], {}
    places = [place for place, info in enumerate(model.feature_info) if info["reduction"] >= 4]
    return places, {f"stage{n}": model.feature_info[place]["num_chs"] for n, place in enumerate(places, start=1)}
