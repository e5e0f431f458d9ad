"""The simple baseline on CLIP: the likelihood of image-text pairs in the batch, and a little quantisation."""

from __future__ import annotations

from torch import Tensor

from hashzoo import Loss
from hashzoo.losses import pair_likelihood, quantisation, shared_labels, sign
from hashzoo.model import Outputs
from hashzoo.train import Batch


class ClipLikelihood(Loss):
    """Baseline of the repository kalenforn/clip-based-cross-modal-hash.

    With theta_ij = min(max(<f_i, g_j>, -64), 64) / 2, S_ij = 1 where image i and text j share a label,

        -mean_ij [S_ij theta_ij - log(1 + exp(theta_ij))]
        + quantisation * mean_i (||sign(f_i) - f_i||^2 + ||sign(g_i) - g_i||^2) / (2 bits)

    Args:
        quantisation: weight of the quantisation of each modality to its own sign.
        limit: of inner products; beyond it a pair has no gradient, which matters above 64 bits alone.
        balanced_pairs: similar and dissimilar pairs weigh alike. Not in that code, whose plain mean may collapse
            where few pairs are similar.
    """

    def __init__(self, quantisation: float = 0.001, limit: float = 64.0, balanced_pairs: bool = True):
        super().__init__()
        self.quantisation, self.limit, self.balanced_pairs = quantisation, limit, balanced_pairs

    def forward(self, outputs: Outputs, batch: Batch) -> dict[str, Tensor]:
        theta = (outputs.image @ outputs.text.T).clamp(-self.limit, self.limit) / 2
        similarity = shared_labels(batch.labels, batch.labels)
        to_signs = [quantisation(values, sign(values.detach())) for values in (outputs.image, outputs.text)]
        return {
            "likelihood": pair_likelihood(theta, similarity, self.balanced_pairs),
            "quantisation": self.quantisation * (to_signs[0] + to_signs[1]) / 2,
        }
