"""LCDH's teacher: image and text features, fusion, attention, one layer to codes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from hashzoo import Job

ROLES = ("teacher_image", "teacher_text")


class Teacher(nn.Module):
    """One code for a pair: two tokens meet in a small transformer, are attended to, and become a code.

    Args:
        job: its rows give the statistics by which features of the encoders `teacher_image` and `teacher_text` are
            centred and scaled.
        bits: code length. Teacher and student have the same, so that their similarity matrices agree.
        width: of the tokens.
        heads: of the transformer.
        layers: of the transformer; 0: image and text do not meet in it.
        attention: whether the channels of both tokens are weighted.
    """

    def __init__(self, job: Job, bits: int, width: int, heads: int, layers: int, attention: bool):
        super().__init__()
        self.image, self.text = (job.standardised(role) for role in ROLES)
        self.image_token, self.text_token = (nn.Linear(job.widths[role]["pooled"], width) for role in ROLES)
        self.fusion = nn.Sequential(*(FusionLayer(width, heads) for _ in range(layers)))
        self.attention: nn.Module = ChannelAttention(2 * width) if attention else nn.Identity()
        self.code = nn.Linear(2 * width, bits)

    def tokens(self, image: Tensor, text: Tensor) -> Tensor:
        """Attended tokens, (B, 2, width), the image's and the text's, of features of the teacher's encoders."""
        pair = [self.image_token(self.image(image)), self.text_token(self.text(text))]
        fused = self.fusion(torch.stack(pair, dim=1))
        return self.attention(fused.flatten(1)).view(fused.shape)

    def codes(self, tokens: Tensor) -> Tensor:
        """Real-valued codes, (B, bits) in (-1, 1)."""
        return torch.tanh(self.code(tokens.flatten(1)))

    def forward(self, image: Tensor, text: Tensor) -> Tensor:
        return self.codes(self.tokens(image, text))


class FusionLayer(nn.Module):
    """A layer of a transformer (pre-norm, no dropout) over the tokens of each row, (B, tokens, width)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values, self.mixed = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        split = self.queries_keys_values(self.before(x)).unflatten(2, (3, self.heads, -1))
        queries, keys, values = split.permute(2, 0, 3, 1, 4)  # (B, heads, tokens, width / heads) each
        weights = (queries @ keys.transpose(2, 3) / queries.shape[3] ** 0.5).softmax(dim=3)
        x = x + self.mixed((weights @ values).transpose(1, 2).flatten(2))
        return x + self.narrow(gelu(self.wide(self.between(x))))


class ChannelAttention(nn.Module):
    """Weights each channel by all others, (B, width): x (1 + sigmoid(W' relu(W x))).

    Args:
        width: number of channels.
        reduction: how much narrower the hidden layer is.
    """

    def __init__(self, width: int, reduction: int = 8):
        super().__init__()
        hidden = max(width // reduction, 1)
        self.weights = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        return x * (1 + self.weights(x))
