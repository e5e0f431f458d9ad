"""hashzoo: cross-modal hashing methods, trained and compared side by side.

What users import is here; each name is loaded when it is first used, so that `import hashzoo` is light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hashzoo.benches.benchmark import bench as bench
    from hashzoo.codes import Codes as Codes
    from hashzoo.codes import pack as pack
    from hashzoo.data import Dataset as Dataset
    from hashzoo.data import Splits as Splits
    from hashzoo.encoders.base import Encoder as Encoder
    from hashzoo.errors import HashzooError as HashzooError
    from hashzoo.evaluator import evaluate as evaluate
    from hashzoo.losses import Loss as Loss
    from hashzoo.model import Outputs as Outputs
    from hashzoo.model import Towers as Towers
    from hashzoo.online import OnlineTrainer as OnlineTrainer
    from hashzoo.plugin import Method as Method
    from hashzoo.plugin import Part as Part
    from hashzoo.plugin import hookimpl as hookimpl
    from hashzoo.search import Index as Index
    from hashzoo.train import Job as Job
    from hashzoo.train import Trainer as Trainer

__version__ = "0.1.0"

_HOME = {
    "Codes": "codes",
    "Dataset": "data",
    "Encoder": "encoders.base",
    "HashzooError": "errors",
    "Index": "search",
    "Job": "train",
    "Loss": "losses",
    "Method": "plugin",
    "OnlineTrainer": "online",
    "Outputs": "model",
    "Part": "plugin",
    "Splits": "data",
    "Towers": "model",
    "Trainer": "train",
    "bench": "benches.benchmark",
    "evaluate": "evaluator",
    "hookimpl": "plugin",
    "pack": "codes",
}
__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'hashzoo' has no attribute {name!r}")
    return getattr(importlib.import_module(f"hashzoo.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
