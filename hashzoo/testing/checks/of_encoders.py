"""Checks of encoders, on drawn scenes: with untrained weights, and small pictures where `pixels` can be set.

An encoder is built as a bench builds it: what follows the colon of its name comes first, `modality` is passed where
it is taken (images and texts are then checked in turn), and `fit` sees the raw items of the training rows.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hashzoo.encoders.base import Width
from hashzoo.errors import one_line
from hashzoo.fitting import seeded
from hashzoo.recipe import ROLES
from hashzoo.storage.files import canonical_json
from hashzoo.testing.kit import Subject, check
from hashzoo.testing.probing import failure, other_settings, watched_generators
from hashzoo.testing.specimens import ROWS, Specimen, build, encoded, name_of, odd_items, specimens, takes

TOLERANCE = 1e-4  # relative to the largest feature


def differ(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() != other.keys() or any(not torch.equal(one[name], other[name]) for name in one)


def not_built(subject: Subject) -> str:
    """Why there is nothing to be looked at; here and below, the check that says so fails for the same reason."""
    return failure(check_encoder_can_be_built, subject) or failure(check_modality_and_dim_are_said, subject)


def no_inputs(subject: Subject) -> str:
    return not_built(subject) or failure(check_prepare_gives_one_shape, subject)


def no_features(subject: Subject) -> str:
    return no_inputs(subject) or failure(check_features_are_float32_rows, subject)


def no_further_outputs(subject: Subject) -> str:
    if no_features(subject):
        return no_features(subject)
    return "" if any(found.encoder.outputs for found in specimens(subject)) else "it has no named outputs"


def not_repeatable(subject: Subject) -> str:
    return (
        no_features(subject)
        or failure(check_prepare_is_repeatable, subject)
        or failure(check_forward_is_repeatable, subject)
    )


def no_card(subject: Subject) -> str:
    return not_repeatable(subject) or failure(check_card_is_plain_json, subject)


def no_weights(subject: Subject) -> str:
    return no_card(subject) or ("" if takes(subject, "weights") else "it takes no weights")


def nothing_to_train(subject: Subject) -> str:
    if no_features(subject):
        return no_features(subject)
    return "" if any(_parameters(found) for found in specimens(subject)) else "it has no parameters"


@check("encoder")
def check_encoder_can_be_built(subject: Subject) -> None:
    """The encoder can be built by its name, with untrained weights if it takes any, and fitted on raw items."""
    specimens(subject)


@check("encoder", unless=lambda subject: failure(check_encoder_can_be_built, subject))
def check_modality_and_dim_are_said(subject: Subject) -> None:
    """The encoder says which modality it takes, the one that it was asked for, and how many features it gives."""
    for found in specimens(subject):
        modality, dim = getattr(found.encoder, "modality", None), getattr(found.encoder, "dim", None)
        assert modality in ROLES, f"its `modality` is {modality!r}; say 'image' or 'text'"
        assert modality == found.role, f"asked for modality '{found.role}' it says that it is for '{modality}'"
        assert type(dim) is int, f"its `dim` is {dim!r}; say the number of features"
        assert dim > 0, f"its `dim` is {dim}; say the number of features"


@check("encoder", unless=not_built)
def check_prepare_gives_one_shape(subject: Subject) -> None:
    """Every picture of any size, and every text, becomes a tensor of one shape and one dtype."""
    for found in specimens(subject):
        usual = ""
        for item in (*found.items(), *odd_items(found.role)):
            try:
                made = found.encoder.prepare(item)
            except Exception as error:
                raise AssertionError(f"prepare fails for {name_of(item)}: {one_line(error)}") from error
            assert isinstance(made, Tensor), f"prepare gives {type(made).__name__}, not a tensor"
            shape = f"{tuple(made.shape)} {made.dtype}"
            usual = usual or shape
            assert shape == usual, f"{name_of(item)} becomes {shape}, {name_of(found.items()[0])} {usual}"


@check("encoder", unless=no_inputs)
def check_features_are_float32_rows(subject: Subject) -> None:
    """A batch of B prepared items becomes (B, dim) finite float32."""
    for found in specimens(subject):
        features = found.outputs["features"]
        _check_rows(f"the features of {ROWS} {found.role}s", features, found.encoder.dim)


@check("encoder", unless=no_features)
def check_odd_items_have_finite_features(subject: Subject) -> None:
    """The features of one-coloured pictures of odd shapes, and of empty and very long texts, are finite."""
    for found in specimens(subject):
        for item in odd_items(found.role):
            features = encoded(found.encoder, found.encoder.prepare(item)[None])["features"]
            assert torch.isfinite(features).all(), f"the features of {name_of(item)} are not finite"


@check("encoder", unless=no_further_outputs)
def check_named_outputs_have_promised_widths(subject: Subject) -> None:
    """`forward_outputs` gives each of `outputs` by name, (B, width) or (B, tokens, width), as finite float32."""
    for found in specimens(subject):
        made = found.outputs
        missing = [name for name in ("pooled", *found.encoder.outputs) if name not in made]
        assert not missing, f"forward_outputs gives no {' and no '.join(missing)}"
        for name, width in found.encoder.outputs.items():
            _check_rows(f"the output '{name}' of {ROWS} {found.role}s", made[name], width)


@check("encoder", unless=no_further_outputs)
def check_pooled_output_is_the_feature_vector(subject: Subject) -> None:
    """The output "pooled" of `forward_outputs` is what `forward` gives: heads are to see one and the same."""
    for found in specimens(subject):
        made = found.outputs
        if "pooled" in made:
            _check_equal(made["features"], made["pooled"], "forward and the output 'pooled' of forward_outputs")


@check("encoder", unless=no_features)
def check_rows_are_independent(subject: Subject) -> None:
    """The features of an item do not depend on the other items of its batch."""
    for found in specimens(subject):
        inputs = found.inputs()
        together = encoded(found.encoder, inputs)
        apart = [encoded(found.encoder, row[None]) for row in inputs]
        for name, rows in together.items():
            _check_equal(
                rows, torch.cat([one[name] for one in apart]), f"{name} of {ROWS} items at once and one by one"
            )


@check("encoder", unless=no_features)
def check_different_items_have_different_features(subject: Subject) -> None:
    """Most of eight different scenes have features of their own."""
    for found in specimens(subject):
        features = found.outputs["features"]
        distinct = len(torch.unique(features, dim=0))
        assert distinct > ROWS // 2, f"{ROWS} different {found.role}s have {distinct} different feature vectors"


@check("encoder", unless=no_inputs)
def check_prepare_is_repeatable(subject: Subject) -> None:
    """An item that is prepared again becomes the same tensor: features are computed once and cached."""
    for found in specimens(subject):
        assert torch.equal(found.inputs(), found.inputs()), (
            f"prepare makes something else of the same {found.role} the next time; take the chance out of it"
        )


@check("encoder", unless=no_features)
def check_forward_is_repeatable(subject: Subject) -> None:
    """In evaluation mode the same batch gives the same outputs, bit for bit."""
    for found in specimens(subject):
        inputs = found.inputs()
        first, second = encoded(found.encoder, inputs), encoded(found.encoder, inputs)
        assert not differ(first, second), "forward gives other values for the same batch in evaluation mode"


@check("encoder", unless=no_features)
def check_items_and_inputs_are_unchanged(subject: Subject) -> None:
    """`prepare` leaves pictures as they are, `forward` leaves its input as it is."""
    for found in specimens(subject):
        for item, fresh in zip(found.items(), found.items(), strict=True):
            found.encoder.prepare(item)
            assert item == fresh, "prepare changes the picture that it is handed; work on a copy"
        inputs = found.inputs()
        kept, version = inputs.clone(), inputs._version
        encoded(found.encoder, inputs)
        assert torch.equal(inputs, kept), "forward changes its input; work on a copy"
        assert inputs._version == version, "forward writes into its input; work on a copy"


@check("encoder", unless=not_repeatable)
def check_second_encoder_gives_the_same_features(subject: Subject) -> None:
    """An encoder that is built again and fitted on the same items gives the same outputs, bit for bit."""
    for one, other in zip(specimens(subject), specimens(subject, again=1), strict=True):
        assert torch.equal(one.inputs(), other.inputs()), "an encoder that is built again prepares items differently"
        assert not differ(one.outputs, other.outputs), (
            "an encoder that is built again gives other features; build untrained weights inside "
            "hashzoo.encoders.weights.seeded()"
        )


@check("encoder", unless=no_features)
def check_card_is_plain_json(subject: Subject) -> None:
    """The card is a dict that can be written as JSON: the keys of features and runs are made of it."""
    for found in specimens(subject):
        card = found.encoder.card()
        assert isinstance(card, dict), f"its card is {type(card).__name__}, not a dict"
        try:
            canonical_json(card)
        except (TypeError, ValueError) as error:
            raise AssertionError(f"its card cannot be written as JSON: {error}") from error


@check("encoder", unless=no_card)
def check_second_encoder_has_the_same_card(subject: Subject) -> None:
    """An encoder that is built again has an equal card: otherwise no cached feature is ever found again."""
    for one, other in zip(specimens(subject), specimens(subject, again=1), strict=True):
        if differ(one.outputs, other.outputs):
            continue  # the card is right to tell them apart
        changed = _changes(one.encoder.card(), one.encoder.card()) or _changes(one.encoder.card(), other.encoder.card())
        assert not changed, f"with equal features another card: {changed}"


@check("encoder", unless=no_weights)
def check_card_marks_random_weights(subject: Subject) -> None:
    """Built with weights="random" the card says {"weights": "random"}, by which every table marks the row."""
    for found in specimens(subject):
        said = found.encoder.card().get("weights")
        assert said == "random", f"with random weights its card has weights = {said!r}; see weights_card"


@check("encoder", unless=no_card)
def check_card_follows_settings(subject: Subject) -> None:
    """A setting that changes what items become changes the card: otherwise stale features are taken from the cache."""
    signature = inspect.signature(subject.target()).parameters
    first = next((name for name in signature if name != "modality"), "")
    given = ("modality", "weights", *([first] if ":" in subject.name else []))
    for found in specimens(subject):
        modality = found.role if takes(subject, "modality") else ""
        for name, values in other_settings(subject.target(), given):
            for value in values:
                try:
                    other = build(subject, modality, **found.settings | {name: value})
                except Exception:  # the encoder refuses the value, in whatever way
                    continue
                if not _changes(found.encoder.card(), other.encoder.card()):
                    assert not differ(_everything(found), _everything(other)), (
                        f"{name}={value} changes what {found.role}s become, but not the card; put {name} into card()"
                    )
                break


@check("encoder", unless=lambda subject: no_weights(subject) or nothing_to_train(subject))
def check_card_follows_weights(subject: Subject) -> None:
    """Other parameters make another card: `card()` digests what the module holds, wherever that came from."""
    for found in specimens(subject):
        other = copy.deepcopy(found.encoder)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.add_(0.1)
        changed = differ(found.outputs, encoded(other, found.inputs()))
        assert not changed or _changes(found.encoder.card(), other.card()), (
            "other parameters give other features, but the same card; put a digest of the parameters into card(), "
            "as hashzoo.encoders.weights.weights_card does"
        )


@check("encoder", unless=no_features)
def check_encoder_leaves_random_numbers_alone(subject: Subject) -> None:
    """Building, fitting and encoding take nothing from, and do nothing to, the global random number generators."""
    advice = "use a generator of your own, or hashzoo.encoders.weights.seeded()"
    for found in specimens(subject):
        assert not found.disturbed, f"building or fitting it changes {' and '.join(found.disturbed)}; {advice}"
        with watched_generators() as changed:
            inputs = found.inputs()
        assert not changed, f"prepare changes {' and '.join(changed)}; {advice}"
        with watched_generators() as changed:
            encoded(found.encoder, inputs)
        assert not changed, f"forward changes {' and '.join(changed)}; {advice}"


@check("encoder", unless=nothing_to_train)
def check_encoder_can_be_trained_along(subject: Subject) -> None:
    """A copy in training mode lets gradients through to its parameters, as `--set image.frozen=false` needs."""
    for found in specimens(subject):
        if not _parameters(found):
            continue
        encoder = copy.deepcopy(found.encoder).requires_grad_(True).train()
        noise = torch.Generator().manual_seed(0)
        with seeded(0, torch.get_num_threads()):  # for dropout
            outputs = encoder.forward_outputs(found.inputs())
        wanted = sum((rows * torch.randn(rows.shape, generator=noise)).sum() for rows in outputs.values())
        assert isinstance(wanted, Tensor)
        assert wanted.requires_grad, "its outputs carry no gradient; take torch.no_grad out of forward"
        wanted.backward()
        gradients = [parameter.grad for parameter in encoder.parameters() if parameter.grad is not None]
        assert any(gradient.any() for gradient in gradients), "no gradient reaches any of its parameters"
        assert all(torch.isfinite(gradient).all() for gradient in gradients), (
            "gradients of its parameters are not finite"
        )


def _parameters(found: Specimen) -> bool:
    return any(True for _ in found.encoder.parameters())


def _check_rows(what: str, rows: Any, width: Width) -> None:
    assert isinstance(rows, Tensor), f"{what} are {type(rows).__name__}, not a tensor"
    promised = (ROWS, width) if isinstance(width, int) else (ROWS, *width)
    assert rows.shape == promised, f"{what} have the shape {tuple(rows.shape)}, promised are {promised}"
    assert rows.dtype == torch.float32, f"{what} are {rows.dtype}, not float32"
    assert torch.isfinite(rows).all(), f"{what} are not all finite"


def _check_equal(one: Tensor, other: Tensor, what: str) -> None:
    assert one.shape == other.shape, f"{what} have the shapes {tuple(one.shape)} and {tuple(other.shape)}"
    apart = ((one - other).abs().max() / one.abs().max().clamp_min(1e-12)).item()
    assert apart <= TOLERANCE, f"{what} differ by {apart:.1e} of the largest value"


def _changes(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """The fields in which two cards differ, "" where they are equal."""
    return ", ".join(
        f"{name} is {one.get(name)!r} and {other.get(name)!r}"
        for name in sorted(one.keys() | other.keys())
        if one.get(name) != other.get(name)
    )


def _everything(found: Specimen) -> dict[str, Tensor]:
    """What usual and odd items become, prepared and encoded."""
    made: dict[str, Tensor] = {}
    for number, item in enumerate((*found.items(), *odd_items(found.role))):
        inputs = found.encoder.prepare(item)[None]
        made |= {f"{number} {name}": value for name, value in encoded(found.encoder, inputs).items()}
        made[f"{number} inputs"] = inputs
    return made
