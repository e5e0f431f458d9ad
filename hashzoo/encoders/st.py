"""Any text model of sentence-transformers, by name or from a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hashzoo.encoders.base import Encoder, MissingWeights
from hashzoo.encoders.weights import (
    files_in,
    hub,
    hub_files,
    hub_reason,
    no_bars,
    quiet,
    seeded,
    weights_card,
    weights_path,
)
from hashzoo.errors import HashzooError
from hashzoo.storage.files import digest

PATH_HELP = "a folder that sentence-transformers saved"
PADDING = -1  # not a token id, so that the mask follows from the ids
LONGEST = 512  # of models that name no length themselves


class SentenceEncoder(Encoder):
    """The sentence vectors of a model (Reimers & Gurevych, EMNLP 2019), pooled and scaled as its own files say.

    Args:
        name: a repository of the hub, with or without its owner ("all-mpnet-base-v2"), or a folder.
        max_tokens: longer texts are cut here, special tokens included; 0 takes the model's own limit.
        prompt: put before every text: one of the model's prompts by name, or the words themselves, such as
            "query: "; empty for the model's default, which mostly is none.
        weights: "pretrained" (the name's), a folder, or "random" (the name's configuration and vocabulary
            with an untrained transformer).
    """

    modality = "text"
    model: Any

    def __init__(self, name: str = "", max_tokens: int = 0, prompt: str = "", weights: str = "pretrained"):
        super().__init__()
        self.name, self.weights = f"st:{name}", weights
        if not name:
            raise HashzooError("encoder 'st' needs the name of a model; type for example st:all-mpnet-base-v2")
        self.model, self.files = _load(name, weights)
        own = min(self.model.max_seq_length or LONGEST, int(1e6))
        if isinstance(max_tokens, bool) or not isinstance(max_tokens, int) or not (max_tokens == 0 or max_tokens >= 3):
            raise HashzooError(f"max_tokens of encoder '{self.name}' must be a whole number from 3, not {max_tokens!r}")
        if max_tokens > own:
            raise HashzooError(f"'{self.name}' reads at most {own} tokens; lower max_tokens from {max_tokens}")
        self.max_tokens = self.model.max_seq_length = max_tokens or own
        prompts = self.model.prompts
        self.prompt = prompts.get(prompt, prompt) if prompt else prompts.get(self.model.default_prompt_name, "") or ""
        if not isinstance(self.prompt, str):
            raise HashzooError(f"prompt of encoder '{self.name}' must be words, not {self.prompt!r}")
        self._check_kind()
        self.dim = int(self.model.get_embedding_dimension())
        self.eval()

    def prepare(self, item: str) -> Tensor:
        """A text as (max_tokens,) int32 token ids, padded with -1."""
        ids = self._tokens(item)["input_ids"][0]
        row = torch.full((self.max_tokens,), PADDING, dtype=torch.int32)
        row[: len(ids)] = ids
        return row

    def forward(self, x: Tensor) -> Tensor:
        """(B, max_tokens) token ids to (B, dim) float32."""
        mask = x != PADDING
        longest = int(mask.sum(1).max())  # padding is at the end, so nothing but padding is cut
        mask = mask[:, :longest]
        # Some models count positions by the padding id, so that no other id may stand there.
        ids = torch.where(mask, x[:, :longest], self.model.tokenizer.pad_token_id or 0)
        return self.model({"input_ids": ids.long(), "attention_mask": mask.long()})["sentence_embedding"].float()

    def card(self) -> dict[str, Any]:
        return {
            "encoder": self.name,
            "max_tokens": self.max_tokens,
            "prompt": self.prompt,
            "vocabulary": digest(self.model.tokenizer.get_vocab()),
            "modules": [[type(module).__name__, _settings(module)] for module in list(self.model)[1:]],
            "precision": "fp32",
            **weights_card(self.model, self.weights),
        }

    def _tokens(self, text: str) -> dict[str, Any]:
        return self.model.preprocess([text], prompt=self.prompt or None)

    def _check_kind(self) -> None:
        """Refuse what is no transformer over the tokens of a text, such as bags of words and image models."""
        tokens: dict[str, Any] = {}
        if self.model.transformers_model is not None and self.model.supports("text"):
            tokens = self._tokens("a cat")
        if "attention_mask" not in tokens or tokens["input_ids"].shape != tokens["attention_mask"].shape:
            raise HashzooError(f"'{self.name}' is no transformer that reads texts; choose another model")
        if self.prompt and any(getattr(module, "include_prompt", True) is False for module in self.model):
            raise HashzooError(
                f"'{self.name}' leaves its prompt out of the mean, which hashzoo does not; leave prompt out"
            )


def _load(name: str, weights: str) -> tuple[Any, list[Path] | None]:
    """The model, in float32, and its files; nothing is said, and no code of the repository is run."""
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise HashzooError(
            f"encoder 'st:{name}' needs sentence-transformers; type: pip install \"hashzoo[st]\""
        ) from error

    source = name if weights in ("pretrained", "random") else str(weights_path(weights, f"st:{name}", PATH_HELP))
    if source.startswith((".", "/", "~")):
        source = str(weights_path(source, f"st:{name}", PATH_HELP))
    local = Path(source).is_dir()
    try:
        with quiet() if local else hub(), no_bars(), seeded():
            from huggingface_hub import constants

            offline = local or constants.HF_HUB_OFFLINE
            model = SentenceTransformer(
                source, device="cpu", local_files_only=offline, model_kwargs={"dtype": torch.float32}
            )
            if weights == "random" and model.transformers_model is not None:
                fresh = type(model.transformers_model)(model.transformers_model.config)
                model.transformers_model.load_state_dict(fresh.state_dict())
    except Exception as error:  # of the hub, of transformers, of safetensors, of missing fields
        if local:
            raise HashzooError(f"{source} cannot be read as a sentence encoder; give {PATH_HELP}") from error
        raise MissingWeights(f"st:{name}", hub_reason(error), PATH_HELP) from error
    return model, _files(source)


def _files(source: str) -> list[Path] | None:
    """The files of a folder, or of the last revision of a repository in the hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    if Path(source).is_dir():
        return files_in(Path(source))
    found = try_to_load_from_cache(source if "/" in source else f"sentence-transformers/{source}", "config.json")
    return [*hub_files(Path(found)), *files_in(Path(found).parent)] if isinstance(found, str) else None


def _settings(module: Any) -> dict[str, Any]:
    settings = module.get_config_dict() if hasattr(module, "get_config_dict") else {}
    return {key: value for key, value in settings.items() if isinstance(value, (bool, int, float, str))}
