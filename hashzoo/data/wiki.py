"""`wiki`: the Wikipedia featured articles of Rasiwasia et al., as the features that everybody uses."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hashzoo.data.base import Splits
from hashzoo.data.matlab import read_matlab
from hashzoo.data.prepared import Prepared, Rows, write_prepared
from hashzoo.errors import HashzooError
from hashzoo.storage.files import cache_dir, digest

FILE = "wikiData.mat"
SHAPES = {"I_tr": (2173, 128), "T_tr": (2173, 10), "I_te": (693, 128), "T_te": (693, 10)}
CLASSES = (
    *("art", "biology", "geography", "history", "literature"),
    *("media", "music", "royalty", "sport", "warfare"),
)
RULE = "the authors' split: 693 test articles are queries, 2,173 training articles are train and database"
LICENCE = (
    "Features of Wikipedia featured articles (text and pictures under their own free licences), made by Rasiwasia "
    "et al., 'A New Approach to Cross-Modal Multimedia Retrieval', ACM Multimedia 2010; for research."
)
PREPARE = f"hashzoo datasets prepare wiki --from FOLDER, with the folder that holds {FILE}"


class Wiki(Prepared):
    """2,866 pairs of one class each: SIFT bag of words (128) and LDA topics (10) instead of pictures and texts."""

    def __init__(self) -> None:
        super().__init__(_folder(), PREPARE)

    @classmethod
    def prepare(cls, source: Path | None = None) -> None:  # type: ignore[override]
        """Read wikiData.mat; `source` is the file or the folder that holds it."""
        if source is None:
            if not (_folder() / "manifest.json").exists():
                raise HashzooError(f"'wiki' is not downloaded by hashzoo: type {PREPARE}")
            return
        path = source / FILE if source.is_dir() else source
        arrays = read_matlab(path)
        for name, shape in (SHAPES | {"L_tr": (2173, 10), "L_te": (693, 10)}).items():
            found = arrays[name].shape if name in arrays else "nothing"
            if found != shape:
                raise HashzooError(
                    f"{path} has {found} as {name} where {shape} belongs; give the {FILE} of the data set"
                )
        joined = {kind: np.concatenate([arrays[f"{kind}_tr"], arrays[f"{kind}_te"]]) for kind in "ITL"}
        train, query = np.arange(2173), np.arange(2173, 2866)
        rows = Rows(
            CLASSES,
            joined["L"] > 0,
            Splits(train=train, query=query, database=train, rule=RULE),
            features={"image": joined["I"].astype(np.float32), "text": joined["T"].astype(np.float32)},
            source={FILE: digest(path.read_bytes())},
        )
        write_prepared(_folder(), "wiki", rows, LICENCE)


def _folder() -> Path:
    return cache_dir() / "datasets" / "wiki"
