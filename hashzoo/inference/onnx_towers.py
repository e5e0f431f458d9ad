"""The towers of a model as ONNX files, each of which is compared with torch on real rows before it is there.

OUT/
    image.onnx, text.onnx   input: features (B, width) float32; or, with the encoder, prepared items (B, ...)
                            output: outputs (B, bits) float32; bit = value > 0

Standardisation is part of the graph. What a file is says its metadata (`hashzoo`, one JSON object).
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hashzoo.benches.reopening import reopen
from hashzoo.benches.track import Track
from hashzoo.benches.workbench import Workbench
from hashzoo.encoders.base import Encoder
from hashzoo.errors import HashzooError, one_line
from hashzoo.inference.model import Model, load_model, probes
from hashzoo.recipe import ROLES
from hashzoo.storage.arrays import take
from hashzoo.storage.files import canonical_json, write_error

OPSET = 18
FEATURE_ROWS, ITEM_ROWS = 20_000, 256  # that are compared at most: of features; of items, which are read and encoded
BATCH = 64
MOST_DIFFERING = 1e-4  # share of the bits
NEAR_ZERO = 1e-4  # what a value is nearer to zero than, where the bit differs
LONG_TEXT = "word " * 5000  # longer than any encoder takes: encoders that cut off padding cut nothing off it


class WithEncoder(nn.Module):
    """From prepared items to real values: the encoder and the tower behind it."""

    def __init__(self, encoder: Encoder, widths: Mapping[str, int], tower: nn.Module):
        super().__init__()
        self.encoder, self.widths, self.tower = encoder, dict(widths), tower

    def forward(self, items: Tensor) -> Tensor:
        if list(self.widths) == ["pooled"]:
            return self.tower(self.encoder(items).float())
        outputs = self.encoder.forward_outputs(items)
        return self.tower(torch.cat([outputs[name].float() for name in self.widths], dim=1))


def export_towers(source: Path | str, out: Path | str, *, with_encoder: bool = False) -> dict[str, Any]:
    """Write the towers of a run, or of the model in a collection, to a new folder.

    Args:
        source: folder of a run or of a collection.
        out: folder that is new or empty.
        with_encoder: make the encoders part of the graphs, which then take prepared items.

    Returns:
        {"schema": 1, "out": folder, "opset": ..., "towers": {"image": {"file", "input", "shape", "compared",
        "rows", "differing_bits", "largest_difference"}, "text": ...}}.

    Raises:
        HashzooError: packages are missing, a tower cannot be exported, or it gives other codes in onnxruntime.
    """
    try:
        import onnx  # noqa: F401 - torch writes through it
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise HashzooError(f'--onnx needs {error.name}; type: pip install "hashzoo[onnx]"') from error
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise HashzooError(f"{out} exists already; give a new folder")
    model = load_model(source, device="cpu")
    if with_encoder:
        _check_encoders(model)
    items = _Items(model)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as name:
            made = Path(name) / out.name
            made.mkdir()
            towers = {role: _export(model, items, role, made, with_encoder) for role in ROLES}
            if out.exists():
                out.rmdir()
            shutil.move(made, out)
    except OSError as error:
        raise write_error(out, error) from error
    return {"schema": 1, "out": str(out), "opset": OPSET, "towers": towers}


class _Items:
    """Rows on which towers are compared: those of the model's data set, or the probes where that is not here."""

    def __init__(self, model: Model):
        self.model = model
        self.bench: Workbench | None = None
        place = model.folder.resolve().parent.parent
        try:
            track = Track.load(place)
            self.bench = Workbench(reopen(place, track), track, model.device, None)
            splits = self.bench.dataset.splits
            self.rows = np.concatenate([splits.query, splits.database])
        except HashzooError:
            if not all(model.encodes(role) for role in ROLES):
                raise

    @property
    def name(self) -> str:
        """What is compared."""
        return f"rows of {self.bench.dataset.name}" if self.bench else "fixed items"

    def features(self, role: str) -> Tensor:
        """(n, width) float32."""
        if self.bench is None:
            return self.model.features(role, self.prepared(role)).float()
        encoded = self.bench.encoded(self.model.recipe, role)
        inputs = torch.from_numpy(take(encoded.inputs, self.rows[: FEATURE_ROWS if encoded.frozen else ITEM_ROWS]))
        return inputs.float() if encoded.frozen else self.model.features(role, inputs).float()

    def prepared(self, role: str) -> Tensor:
        """(n, ...) as the encoder takes them."""
        if self.bench is None:
            items = probes(role)
        else:
            data = self.bench.dataset
            items = [data.image(row) if role == "image" else data.text(row) for row in self.rows[:ITEM_ROWS].tolist()]
        return torch.stack([self.model.prepare(role, item) for item in items])


def _check_encoders(model: Model) -> None:
    for role in ROLES:
        if not model.encodes(role):
            raise HashzooError(f"the model takes {role} features that were given; leave out --with-encoder")
        if model.extraction(role).card():
            raise HashzooError(
                f"features of {role}s were computed or kept with less than float32; leave out --with-encoder"
            )


def _export(model: Model, items: _Items, role: str, folder: Path, with_encoder: bool) -> dict[str, Any]:
    """One tower: written, then run in onnxruntime on the rows and compared."""
    widths = dict(model.about["widths"][role])
    name = "items" if with_encoder else "features"
    inputs = items.prepared(role) if with_encoder else items.features(role)
    network: nn.Module = model.tower(role)
    if with_encoder:
        network = WithEncoder(model.encoder(role), widths, network)
    example = inputs[:2]
    if with_encoder and role == "text":
        example = torch.stack([model.prepare(role, LONG_TEXT), inputs[0]])
    path = folder / f"{role}.onnx"
    about = {
        "format": 1,
        "method": model.about["method"],
        "modality": role,
        "encoder": model.about["encoders"][role],
        "with_encoder": with_encoder,
        "widths": widths,
        "bits": model.bits,
    }
    with torch.no_grad():
        _write(network.eval(), example, path, name, about, f"the {role} tower of '{model.about['method']}'")
        wanted = torch.cat([network(rows).float() for rows in inputs.split(BATCH)]).numpy()
    differing, difference = _compare(path, name, inputs, wanted, f"the {role} tower")
    return {
        "file": path.name,
        "input": name,
        "shape": list(inputs.shape[1:]),
        "compared": items.name,
        "rows": len(inputs),
        "differing_bits": differing,
        "largest_difference": difference,
    }


def _write(network: nn.Module, example: Tensor, path: Path, name: str, about: Mapping[str, Any], said: str) -> None:
    """Trace a network into an ONNX file whose first axis is free."""
    import onnx

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # The exporter that traces: the newer one takes nothing whose shapes depend on values, as MiniLM's do.
            torch.onnx.export(
                network,
                (example,),
                str(path),
                dynamo=False,
                input_names=[name],
                output_names=["outputs"],
                dynamic_axes={name: {0: "batch"}, "outputs": {0: "batch"}},
                opset_version=OPSET,
            )
    except HashzooError:
        raise
    except Exception as error:
        raise HashzooError(f"{said} cannot be exported: {one_line(error)}", exit_code=1) from error
    graph = onnx.load(path)
    onnx.helper.set_model_props(graph, {"hashzoo": canonical_json(about)})
    onnx.checker.check_model(graph)
    onnx.save(graph, path)


def _compare(path: Path, name: str, inputs: Tensor, wanted: np.ndarray, said: str) -> tuple[int, float]:
    """Run a file in onnxruntime: how many bits differ from torch's, and the largest difference of a value."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = np.concatenate([session.run(None, {name: rows.numpy()})[0] for rows in inputs.split(BATCH)])
    if found.shape != wanted.shape:
        raise HashzooError(f"{said} gives {found.shape} values in onnxruntime, not {wanted.shape}", exit_code=1)
    differs = (found > 0) != (wanted > 0)
    farthest = max((float(np.abs(values[differs]).max(initial=0)) for values in (found, wanted)), default=0.0)
    if differs.mean() > MOST_DIFFERING or farthest >= NEAR_ZERO:
        raise HashzooError(
            f"{said} gives other codes in onnxruntime: {differs.mean():.3%} of the bits differ, with values up to "
            f"{farthest:.2g}; use it with torch",
            exit_code=1,
        )
    return int(differs.sum()), float(np.abs(found - wanted).max(initial=0))
