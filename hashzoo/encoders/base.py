"""What an encoder is: a module that turns raw images or texts into feature vectors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hashzoo.errors import HashzooError

Width = int | tuple[int, int]  # of a flat vector, or (tokens, width) of a sequence


class MissingWeights(HashzooError):
    """The pretrained weights of an encoder are not on this machine and could not be fetched.

    Args:
        encoder: the name that the user typed, such as "timm:resnet34.a1_in1k".
        reason: what was looked for and why it was not found, without a full stop.
        path_help: what a path must point to, such as "a .safetensors file of this model".
    """

    def __init__(self, encoder: str, reason: str, path_help: str):
        self.encoder, self.reason, self.path_help = encoder, reason, path_help
        super().__init__(f"no weights for encoder '{encoder}': {reason}. {self._ways(path_help)}")

    @classmethod
    def joined(cls, errors: Sequence[MissingWeights], roles: Sequence[str] = ("image", "text")) -> HashzooError:
        """One error for all encoders of a request that lack weights, in these roles."""
        if len(errors) == 1:
            (error,) = errors
            return HashzooError(
                f"no weights for encoder '{error.encoder}': {error.reason}. {cls._ways(error.path_help, roles)}"
            )
        each = "".join(f"\n  {error.encoder}: {error.reason} (a path: {error.path_help})" for error in errors)
        return HashzooError(f"no weights for {len(errors)} encoders:{each}\n{cls._ways('a path', roles)}")

    @staticmethod
    def _ways(path_help: str, roles: Sequence[str] = ("image", "text")) -> str:
        others = ", ".join(f"{role}.weights" for role in roles[1:])
        return (
            f"Three ways: run once with a network, so that they are fetched and cached; give {path_help} with "
            f"--set METHOD.image.weights=PATH (or {others}); or ask for untrained ones, which every table marks, "
            f"with --set METHOD.image.weights=random"
        )


class Encoder(nn.Module):
    """Raw items to features, with the preprocessing inside so that it cannot be forgotten.

    Constructor keywords are the encoder's settings (`--set image.pixels=224`). An encoder that
    loads pretrained weights takes `weights`: "pretrained" (default), a path, or "random".
    An encoder of the kind `timm:NAME` takes what follows the colon as its first argument.
    An encoder that serves both modalities takes `modality`, "image" or "text".
    Several threads call `forward` at once, and, of images, `prepare`.

    Attributes:
        modality: "image" (items are RGB PIL images) or "text" (items are strings).
        dim: width of the feature vector.
        outputs: widths of further named outputs, such as {"stage1": 64}; of a sequence (tokens, width), such as
            {"tokens": (16, 512)}.
        files: every file and folder that it was read from, where its card depends on nothing else but its settings,
            the installed packages and what it was fitted on. The card is then remembered, and the encoder not built
            where its features are cached. None where this is not known.
    """

    modality: str
    dim: int
    outputs: Mapping[str, Width] = {}
    files: Sequence[Path] | None = None

    def fit(self, items: Iterable[Any]) -> None:
        """See the raw items of the training rows once, before anything is encoded (vocabularies)."""

    @abstractmethod
    def prepare(self, item: Any) -> Tensor:
        """One raw item as a tensor of fixed shape and small dtype (uint8 pixels, int token ids)."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """A batch of prepared items, (B, ...), as float32 features, (B, dim)."""

    def forward_outputs(self, x: Tensor) -> dict[str, Tensor]:
        """All outputs of a batch by name: "pooled" (B, dim) and each of `outputs`, (B, width) or (B, tokens, width).

        Tokens that are padding, which shorter texts have at their end, are zero.
        """
        return {"pooled": self(x)}

    @abstractmethod
    def card(self) -> dict[str, Any]:
        """Everything that can change the output, as plain JSON: architecture, weights digest, sizes."""


def numbers(width: Width) -> int:
    """How many numbers an output of a width has."""
    return width if isinstance(width, int) else width[0] * width[1]


def state_digest(module: nn.Module) -> str:
    """SHA-256 over names, shapes and bytes of all parameters and buffers: the `weights` field of a card."""
    import hashlib

    sha = hashlib.sha256()
    for name, tensor in sorted(module.state_dict().items()):
        sha.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
        sha.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()
