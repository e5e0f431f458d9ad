"""One evaluator for every method, usable alone: any codes, any labels, no training in sight.

Importing this imports numpy only; the compiled kernels load when the first evaluation needs them.
"""

from hashzoo.evaluator.distances import distance_counts
from hashzoo.evaluator.protocols import PRESETS, Protocol
from hashzoo.evaluator.reference import ceiling, floor, label_codes
from hashzoo.evaluator.scoring import Result, cross_modal, evaluate
from hashzoo.evaluator.significance import (
    Spread,
    against_best,
    bootstrap_interval,
    bootstrap_intervals,
    holm,
    over_seeds,
    randomisation_test,
)

__all__ = [
    "PRESETS",
    "Protocol",
    "Result",
    "Spread",
    "against_best",
    "bootstrap_interval",
    "bootstrap_intervals",
    "ceiling",
    "cross_modal",
    "distance_counts",
    "evaluate",
    "floor",
    "holm",
    "label_codes",
    "over_seeds",
    "randomisation_test",
]
