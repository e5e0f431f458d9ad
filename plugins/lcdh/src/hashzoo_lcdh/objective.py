"""The terms of LCDH's teacher and of its student.

H, U, V are real-valued codes of a batch, (B, bits) each: of the teacher, of the student's images and of its texts.
S_ij = 1 where rows i and j share a label, theta_ij = <h_i, h_j> / 2 and cos(A, A')_ij is the cosine of a_i and a'_j.

    teacher   -mean_ij [S_ij theta_ij - log(1 + exp(theta_ij))] + contrast(image tokens, text tokens)
              + mean_i ||sign(h_i) - h_i||^2 / bits
    student   mean_ij (cos(U, V) - T)_ij^2
              + lambda1 mean_ij [(cos(U, U) - T)_ij^2 + (cos(V, V) - T)_ij^2]
              + lambda2 mean_i [||b_i - u_i||^2 + ||b_i - v_i||^2] / bits

with T = cos(H, H) of the trained teacher and b_i = sign(u_i + v_i).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss, normalize

from hashzoo.losses import code_likelihood, quantisation, shared_labels, sign


def cosines(a: Tensor, b: Tensor) -> Tensor:
    """Similarity matrix of two batches, (A, width) and (B, width): (A, B) in [-1, 1], 0 for a row of zeros."""
    return normalize(a, dim=1) @ normalize(b, dim=1).T


def contrast(image: Tensor, text: Tensor, temperature: float) -> Tensor:
    """Symmetric InfoNCE of the two tokens of each row, (B, width) each: a row's own partner against all others.

    With s_ij = cos(image_i, text_j) / temperature, half of the mean over i of
    log sum_j exp(s_ij) - s_ii plus log sum_j exp(s_ji) - s_ii.
    """
    scores = cosines(image, text) / temperature
    partners = torch.arange(len(scores), device=scores.device)
    return (cross_entropy(scores, partners) + cross_entropy(scores.T, partners)) / 2


def likelihood(codes: Tensor, labels: Tensor, balanced: bool) -> Tensor:
    """Negative log-likelihood of the pairs inside a batch under codes, (B, bits), given labels, (B, C)."""
    return code_likelihood(codes, codes, shared_labels(labels, labels), balanced)


def approximation(image: Tensor, text: Tensor, target: Tensor, lambda1: float, lambda2: float) -> dict[str, Tensor]:
    """The student's terms: its similarity matrices against the target, (B, B), and the distance to binary codes."""
    codes = sign((image + text).detach()).to(image.dtype)
    intra = mse_loss(cosines(image, image), target) + mse_loss(cosines(text, text), target)
    return {
        "inter": mse_loss(cosines(image, text), target),
        "intra": lambda1 * intra,
        "quantisation": lambda2 * (quantisation(image, codes) + quantisation(text, codes)),
    }
