"""CLIP models of open_clip, one tower an encoder."""

from __future__ import annotations

import contextlib
import difflib
import functools
from dataclasses import asdict
from pathlib import Path
from typing import Any

import open_clip
from open_clip.transform import PreprocessCfg
from torch import Tensor, nn
from torch.nn.functional import normalize

from hashzoo.encoders.base import Encoder, MissingWeights
from hashzoo.encoders.pixels import Normalise, square
from hashzoo.encoders.weights import hub, quiet, seeded, weights_card, weights_path
from hashzoo.errors import HashzooError

PATH_HELP = "a .safetensors or .pt file with the state dict of this open_clip model"


class Clip(Encoder):
    """The image or the text tower of a CLIP model (Radford et al., ICML 2021): embeddings of unit length.

    Only the tower of `modality` is part of the module. Preprocessing and activation are the ones
    that open_clip records for the tag, also when the weights come from a file: the openai weights
    need QuickGELU, whichever of open_clip's two names of the architecture they are asked under.

    Args:
        name: MODEL/TAG as open_clip lists them; the tag may be left out where `weights` is a file
            or "random".
        modality: "image" or "text".
        weights: "pretrained" (the tag's, from the hub or its cache), a file, or "random".
    """

    def __init__(self, name: str = "ViT-B-16/openai", *, modality: str, weights: str = "pretrained"):
        super().__init__()
        if modality not in ("image", "text"):
            raise HashzooError(f"modality of encoder 'clip:{name}' must be image or text, not {modality!r}")
        self.name, self.modality, self.weights = f"clip:{name}", modality, weights
        self.model_name, _, tag = name.partition("/")
        self.config, tag_config = _configs(self.model_name, tag)
        # One checkpoint loads under both activations without an error, and one of them is wrong:
        # the tag says which one it was trained with, whatever the name of the architecture implies.
        self.quick_gelu = bool(self.config.get("quick_gelu") or tag_config.get("quick_gelu"))
        file = self._file(tag_config)

        stamp = (file.stat().st_mtime_ns, file.stat().st_size) if file else None
        self.tower = _take(modality, self.model_name, str(file) if file else None, self.quick_gelu, stamp)
        self.dim = int(self.config["embed_dim"])
        if modality == "image":
            self._set_preprocessing(tag_config)
        else:
            self.tokenizer = _tokenizer(self.model_name)
        self.eval()

    def prepare(self, item: Any) -> Tensor:
        """An image as (3, pixels, pixels) uint8, or a text as (context length,) int32 token ids."""
        if self.modality == "text":
            return self.tokenizer([item])[0].int()
        return square(item, self.pixels, resize=self.pixels, mode=self.mode, interpolation=self.interpolation)

    def forward(self, x: Tensor) -> Tensor:
        """Prepared items to (B, dim) float32 of unit length."""
        features = self.tower(self.normalise(x) if self.modality == "image" else x.long())
        if isinstance(features, tuple):  # CoCa: the embedding and the tokens
            features = features[0]
        return normalize(features, dim=-1).float()

    def card(self) -> dict[str, Any]:
        card: dict[str, Any] = {
            "encoder": self.name,
            "modality": self.modality,
            "config": {"embed_dim": self.dim, **self.config["vision_cfg" if self.modality == "image" else "text_cfg"]},
            "quick_gelu": self.quick_gelu,
            "precision": "fp32",
        }
        if self.modality == "image":
            card |= {"pixels": self.pixels, "resize": [self.mode, self.pixels, self.interpolation]}
            card |= self.normalise.card()
        else:
            card["tokens"] = self.tokenizer.context_length
        return card | weights_card(self.tower, self.weights)

    def _file(self, tag_config: dict[str, Any]) -> Path | None:
        """The checkpoint to load; None for random weights."""
        if self.weights == "random":
            return None
        if self.weights != "pretrained":
            return weights_path(self.weights, self.name, PATH_HELP)
        if not tag_config:
            tags = ", ".join(open_clip.list_pretrained_tags_by_model(self.model_name)) or "none"
            raise MissingWeights(self.name, f"the tag that names them is missing (there are: {tags})", PATH_HELP)
        try:
            with hub():
                return Path(open_clip.download_pretrained(tag_config))
        except Exception as error:  # of the hub, of urllib, of open_clip's own checks
            reason = "the hub cannot be reached or refuses, and its cache has none"
            raise MissingWeights(self.name, reason, PATH_HELP) from error

    def _set_preprocessing(self, tag_config: dict[str, Any]) -> None:
        preprocess = asdict(PreprocessCfg()) | tag_config
        sides = self.tower.image_size
        sides = tuple(sides) if isinstance(sides, (tuple, list)) else (sides, sides)
        if len(set(sides)) != 1 or preprocess["resize_mode"] not in ("shortest", "squash"):
            raise HashzooError(f"'{self.name}' does not take square images; choose another open_clip model")
        self.pixels = int(sides[0])
        self.mode, self.interpolation = preprocess["resize_mode"], preprocess["interpolation"]
        self.normalise = Normalise(preprocess["mean"], preprocess["std"])


def _configs(model: str, tag: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """open_clip's configuration of a model and of a tag ({} without tag); one sentence when it has none."""
    config = open_clip.get_model_config(model)
    if config is None:
        near = difflib.get_close_matches(f"{model}-{tag}", open_clip.list_models(), n=1)
        hint = f"did you mean clip:{near[0]}/TAG?" if near else "open_clip.list_models() lists what there is"
        raise HashzooError(f"open_clip has no model '{model}'; {hint}")
    if not tag:
        return config, {}
    tag_config = open_clip.get_pretrained_cfg(model, tag)
    if not tag_config:
        tags = open_clip.list_pretrained_tags_by_model(model)
        twin = model.removesuffix("-quickgelu") if model.endswith("-quickgelu") else f"{model}-quickgelu"
        if tag in open_clip.list_pretrained_tags_by_model(twin):
            raise HashzooError(f"the weights '{tag}' do not have the activation of '{model}'; type clip:{twin}/{tag}")
        near = difflib.get_close_matches(tag, tags, n=1)
        hint = f"did you mean clip:{model}/{near[0]}?" if near else f"choose from: {', '.join(tags) or 'none'}"
        raise HashzooError(f"open_clip has no weights '{tag}' of '{model}'; {hint}")
    return config, tag_config


def _access(model: str) -> contextlib.AbstractContextManager[None]:
    """The hub for the few models whose text tower or tokenizer comes from there, silence for all."""
    remote = any(key.startswith("hf_") for key in open_clip.get_model_config(model)["text_cfg"])
    return hub() if remote or "siglip" in model.lower() else quiet()


def _take(modality: str, model: str, file: str | None, quick_gelu: bool, stamp: tuple[int, int] | None) -> Any:
    """One tower of a model. Each is handed out once, so that no two encoders share parameters."""
    towers = _load(model, file, quick_gelu, stamp)
    if modality not in towers:
        _load.cache_clear()
        towers = _load(model, file, quick_gelu, stamp)
    return towers.pop(modality)


@functools.lru_cache(maxsize=1)  # the other tower waits here for the encoder of the other modality
def _load(model: str, file: str | None, quick_gelu: bool, stamp: tuple[int, int] | None) -> dict[str, nn.Module]:
    try:
        with seeded(), _access(model):
            clip = open_clip.create_model(
                model,
                pretrained=file,
                force_quick_gelu=quick_gelu,
                force_custom_text=True,  # puts the text tower into a module of its own
                pretrained_text=False,
            )
    except Exception as error:  # torch, safetensors, transformers and open_clip raise many kinds
        if file is None:
            raise HashzooError(f"open_clip cannot build '{model}' ({error})") from error
        raise HashzooError(f"{file} does not fit encoder 'clip:{model}'; give {PATH_HELP}") from error
    return {"image": clip.visual, "text": clip.text}


def _tokenizer(model: str) -> Any:
    try:
        with _access(model):
            return open_clip.get_tokenizer(model)
    except Exception as error:  # of the hub or of transformers; most models bring their own vocabulary
        raise HashzooError(
            f"the tokenizer of 'clip:{model}' cannot be fetched; run once with a network, or choose a model "
            f"with CLIP's own tokenizer, such as clip:ViT-B-16/openai"
        ) from error
