"""CLIP models of open_clip, one tower an encoder."""

from __future__ import annotations

import contextlib
import difflib
import functools
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from hashzoo.encoders.base import Encoder, MissingWeights
from hashzoo.encoders.pixels import Normalise, check_pixels, square
from hashzoo.encoders.tokens import SIDE, TOKENS, in_grid, padded
from hashzoo.encoders.weights import files_in, hub, hub_files, hub_reason, quiet, seeded, weights_card, weights_path
from hashzoo.errors import HashzooError

PATH_HELP = "a .safetensors or .pt file with the state dict of this open_clip model"


HUB, FOLDER = "hf-hub:", "local-dir:"
NO_WEIGHTS = ("input_resolution", "context_length", "vocab_size", "attn_mask")  # what archives hold beside them


class Clip(Encoder):
    """The image or the text tower of a CLIP model (Radford et al., ICML 2021): embeddings of unit length.

    Transformers have an output "tokens", after the last block and the projection, of any length: patches averaged over
    a grid of 4 x 4, or the first 32 tokens before the one that ends the text.

    Only the tower of `modality` is part of the module. Preprocessing and activation are the ones
    that open_clip records for the tag, also when the weights come from a file: the openai weights
    need QuickGELU, whichever of open_clip's two names of the architecture they are asked under.
    A repository or folder brings its own record, open_clip_config.json.

    Args:
        name: MODEL/TAG as open_clip lists them; the tag may be left out where `weights` is a file
            or "random". "hf-hub:OWNER/NAME" is a repository of the hub that open_clip wrote,
            "local-dir:FOLDER" such a folder.
        modality: "image" or "text".
        weights: "pretrained" (the name's own), a file, or "random". A file is a state dict, or the TorchScript
            archive that OpenAI published, of which only the tensors are taken.
        max_tokens: longer texts are cut here, special tokens included; 0 takes the model's own limit, mostly
            77. DCHMT and the methods after it take 32.
        pixels: side of the square input; 0 takes the model's own. Position embeddings are interpolated.
    """

    def __init__(
        self,
        name: str = "ViT-B-16/openai",
        *,
        modality: str,
        weights: str = "pretrained",
        max_tokens: int = 0,
        pixels: int = 0,
    ):
        super().__init__()
        if modality not in ("image", "text"):
            raise HashzooError(f"modality of encoder 'clip:{name}' must be image or text, not {modality!r}")
        self.name, self.modality, self.weights = f"clip:{name}", modality, weights
        tag_config: dict[str, Any] = {}
        if name.startswith((HUB, FOLDER)):
            self.model_name, self.config = name, _found_config(name)
        else:
            self.model_name, _, tag = name.partition("/")
            self.config, tag_config = _configs(self.model_name, tag)
        # One checkpoint loads under both activations without an error, and one of them is wrong:
        # the tag says which one it was trained with, whatever the name of the architecture implies.
        self.quick_gelu = bool(self.config.get("quick_gelu") or tag_config.get("quick_gelu"))
        side = check_pixels(pixels, self.name) if pixels else 0
        build = Build(self.model_name, *self._weights(tag_config), quick_gelu=self.quick_gelu, pixels=side)
        self.files = _files(build)
        self.tower = _take(modality, build)
        self.dim = int(self.config["embed_dim"])
        if modality == "image":
            self._set_preprocessing(tag_config or getattr(self.tower, "preprocess_cfg", {}))
        else:
            self._set_tokenizer(max_tokens)
        if _has_tokens(self.tower):
            self.tower.output_tokens = True  # beside the embedding
            count = SIDE * SIDE if modality == "image" else min(TOKENS, self.tokenizer.context_length)
            self.outputs = {"tokens": (count, self.dim)}
        self.eval()

    def prepare(self, item: Any) -> Tensor:
        """An image as (3, pixels, pixels) uint8, or a text as (context length,) int32 token ids."""
        if self.modality == "text":
            return self.tokenizer([item])[0].int()
        return square(item, self.pixels, resize=self.pixels, mode=self.mode, interpolation=self.interpolation)

    def forward(self, x: Tensor) -> Tensor:
        """Prepared items to (B, dim) float32 of unit length."""
        features = self._run(x)
        if isinstance(features, tuple):  # the embedding and the tokens
            features = features[0]
        return normalize(features, dim=-1).float()

    def forward_outputs(self, x: Tensor) -> dict[str, Tensor]:
        """The embeddings of a batch and, of a transformer, its tokens."""
        if not self.outputs:
            return {"pooled": self(x)}
        features, tokens = self._run(x)
        if self.modality == "image":
            patches = _projected(tokens, self.tower.proj).transpose(1, 2)
            tokens = in_grid(patches.unflatten(2, self.tower.grid_size))
        else:
            before_end = torch.arange(x.shape[1], device=x.device) < self._ends(x)[:, None]
            tokens = padded(_projected(tokens, self.tower.text_projection), before_end, self.outputs["tokens"])
        return {"pooled": normalize(features, dim=-1).float(), "tokens": tokens.float()}

    def _run(self, x: Tensor) -> Any:
        return self.tower(self.normalise(x) if self.modality == "image" else x.long())

    def _ends(self, x: Tensor) -> Tensor:
        """Where the token stands that ends each text, (B,): the largest, unless the model names another."""
        if self.tower.pool_type == "argmax":
            return x.argmax(dim=1)
        return (x == self.tower.eos_id).int().argmax(dim=1)

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

    def _weights(self, tag_config: dict[str, Any]) -> tuple[Path | None, bool]:
        """The checkpoint to load, and whether it is the one that the name brings itself."""
        import open_clip

        if self.weights == "random":
            return None, False
        if self.weights != "pretrained":
            return weights_path(self.weights, self.name, PATH_HELP), False
        if self.model_name.startswith((HUB, FOLDER)):
            return None, True
        if not tag_config:
            tags = ", ".join(open_clip.list_pretrained_tags_by_model(self.model_name)) or "none"
            raise MissingWeights(self.name, f"the tag that names them is missing (there are: {tags})", PATH_HELP)
        try:
            with hub():
                return Path(open_clip.download_pretrained(tag_config)), False
        except Exception as error:  # of the hub, of urllib, of open_clip's own checks
            raise MissingWeights(self.name, hub_reason(error), PATH_HELP) from error

    def _set_tokenizer(self, max_tokens: int) -> None:
        """The model's tokenizer, which cuts and fills texts to `max_tokens` (0: to its own limit)."""
        import open_clip

        if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or not (max_tokens == 0 or max_tokens >= 3):
            raise HashzooError(f"max_tokens of encoder '{self.name}' must be a whole number from 3, not {max_tokens!r}")
        own = self.config["text_cfg"].get("context_length", 77)
        if max_tokens > own:
            raise HashzooError(f"'{self.name}' reads at most {own} tokens; lower max_tokens from {max_tokens}")
        # Past the end token CLIP sees nothing, so that a shorter row means the same; other towers read to the end.
        ends = getattr(self.tower, "pool_type", "eos") in ("argmax", "eos")
        if max_tokens not in (0, own) and (not ends or getattr(self.tower, "cls_emb", None) is not None):
            raise HashzooError(f"'{self.name}' was trained on exactly {own} tokens; leave max_tokens out")
        try:
            with _access(self.model_name):
                self.tokenizer = open_clip.get_tokenizer(self.model_name, context_length=max_tokens or None)
        except Exception as error:  # of the hub or of transformers; most models bring their own vocabulary
            raise HashzooError(
                f"the tokenizer of '{self.name}' cannot be fetched; run once with a network, or choose a model "
                f"with CLIP's own tokenizer, such as clip:ViT-B-16/openai"
            ) from error
        if 0 < max_tokens < own and getattr(self.tower, "attn_mask", None) is not None:
            self.tower.attn_mask = self.tower.attn_mask[:max_tokens, :max_tokens]  # open_clip leaves it as it is

    def _set_preprocessing(self, recorded: dict[str, Any]) -> None:
        from open_clip.transform import PreprocessCfg

        preprocess = asdict(PreprocessCfg()) | recorded
        sides = self.tower.image_size
        sides = tuple(sides) if isinstance(sides, (tuple, list)) else (sides, sides)
        if len(set(sides)) != 1 or preprocess["resize_mode"] not in ("shortest", "squash"):
            raise HashzooError(f"'{self.name}' does not take square images; choose another open_clip model")
        self.pixels = int(sides[0])
        self.mode, self.interpolation = preprocess["resize_mode"], preprocess["interpolation"]
        self.normalise = Normalise(preprocess["mean"], preprocess["std"])


def _has_tokens(tower: Any) -> bool:
    """Whether a tower is a transformer whose tokens are those of the picture or of the text."""
    from open_clip.transformer import TextTransformer, VisionTransformer

    if isinstance(tower, VisionTransformer):
        pools_once = tower.attn_pool is None and not tower.final_ln_after_pool
        return pools_once and tower.pool_type in ("tok", "avg")
    return isinstance(tower, TextTransformer) and tower.cls_emb is None and tower.pool_type in ("argmax", "eos")


def _projected(tokens: Tensor, projection: Any) -> Tensor:
    if projection is None:
        return tokens
    return projection(tokens) if isinstance(projection, nn.Module) else tokens @ projection


def _configs(model: str, tag: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """open_clip's configuration of a model and of a tag ({} without tag); one sentence when it has none."""
    import open_clip

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


def _found_config(name: str) -> dict[str, Any]:
    """The configuration in a repository or folder that open_clip wrote."""
    import open_clip

    try:
        with _access(name):
            config = open_clip.get_model_config(name)
        if not all(key in config for key in ("embed_dim", "vision_cfg", "text_cfg")):
            raise ValueError("it is no configuration of open_clip")
    except Exception as error:  # of the hub, of the file system, of json
        if name.startswith(HUB):
            raise MissingWeights(f"clip:{name}", hub_reason(error), PATH_HELP) from error
        folder = name.removeprefix(FOLDER)
        raise HashzooError(f"'{folder}' is no folder that open_clip wrote (open_clip_config.json)") from error
    return config


def _access(model: str) -> contextlib.AbstractContextManager[None]:
    """The hub for repositories and for the few models whose text tower or tokenizer lies there, silence for all."""
    if model.startswith((HUB, FOLDER)):
        return hub() if model.startswith(HUB) else quiet()
    return hub() if _is_remote(model) else quiet()


def _is_remote(model: str) -> bool:
    """Whether the text tower or the tokenizer of a model of open_clip's own lies on the hub."""
    import open_clip

    remote = any(key.startswith("hf_") for key in open_clip.get_model_config(model)["text_cfg"])
    return remote or "siglip" in model.lower()


@dataclass(frozen=True)
class Build:
    """What a model is built of: weights from `file`, from the repository or folder of its name (`own`), or random."""

    model: str
    file: Path | None
    own: bool
    quick_gelu: bool
    pixels: int

    def stamp(self) -> tuple[tuple[int, int], ...]:
        """Tells a file that was written again from the one that was loaded."""
        files = [self.file] if self.file else []
        if self.own and self.model.startswith(FOLDER):
            files = sorted(Path(self.model.removeprefix(FOLDER)).iterdir())
        return tuple((file.stat().st_mtime_ns, file.stat().st_size) for file in files)


def _take(modality: str, build: Build) -> Any:
    """One tower of a model. Each is handed out once, so that no two encoders share parameters."""
    stamp = build.stamp()
    towers = _load(build, stamp)
    if modality not in towers:
        _load.cache_clear()
        towers = _load(build, stamp)
    return towers.pop(modality)


def _files(build: Build) -> list[Path] | None:
    """What a tower and its tokenizer are read from; None of what the hub keeps in files of its own choice."""
    if build.model.startswith(FOLDER):
        return [*files_in(Path(build.model.removeprefix(FOLDER))), *([build.file] if build.file else [])]
    if build.model.startswith(HUB) or _is_remote(build.model):
        return None
    return hub_files(build.file) if build.file else []


@functools.lru_cache(maxsize=1)  # the other tower waits here for the encoder of the other modality
def _load(build: Build, stamp: tuple[tuple[int, int], ...]) -> dict[str, nn.Module]:
    import open_clip

    try:
        with seeded(), _access(build.model):
            clip = open_clip.create_model(
                build.model,
                load_weights=build.own,
                require_pretrained=build.own,
                force_quick_gelu=build.quick_gelu,
                force_custom_text=True,  # puts the text tower into a module of its own
                force_image_size=build.pixels or None,
                pretrained_text=False,
            )
            if build.file is not None:
                _fill(clip, build.file, build)
    except HashzooError:
        raise
    except Exception as error:  # torch, safetensors, transformers and open_clip raise many kinds
        if build.file is not None:
            raise HashzooError(f"{build.file} does not fit encoder 'clip:{build.model}'; give {PATH_HELP}") from error
        if build.own:
            reason = hub_reason(error) if build.model.startswith(HUB) else "the folder has none that fit"
            raise MissingWeights(f"clip:{build.model}", reason, PATH_HELP) from error
        raise HashzooError(f"open_clip cannot build '{build.model}' ({error})") from error
    return {"image": clip.visual, "text": clip.text}


def _fill(clip: Any, file: Path, build: Build) -> None:
    """Put the weights of a file into a model; each tensor must be there and fit."""
    import open_clip
    from open_clip.model import convert_to_custom_text_state_dict, resize_pos_embed

    if not _is_archive(file):
        open_clip.load_checkpoint(clip, str(file))
        return
    if not build.quick_gelu:
        raise HashzooError(f"{file} is OpenAI's and needs its activation; type clip:{build.model}/openai")
    state = torch.jit.load(str(file), map_location="cpu").state_dict()
    state = {key: value.float() for key, value in state.items() if key not in NO_WEIGHTS}
    state = convert_to_custom_text_state_dict(state)
    resize_pos_embed(state, clip)
    clip.load_state_dict(state)


def _is_archive(file: Path) -> bool:
    """Whether a file is a TorchScript archive: weights beside a program, which is never run."""
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())
