"""Vectors of unit length, of which the cosines of proxies and codes are made."""

from torch import Tensor
from torch.nn.functional import normalize


def directions(values: Tensor) -> Tensor:
    """Rows of unit length, (n, width); a row of zeros stays one, and its gradient finite."""
    return normalize(values, dim=1, eps=1e-6)
