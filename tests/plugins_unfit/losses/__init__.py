"""Losses that are wrong in one way each, and one in good order."""

from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1
CAUGHT_BY = {
    "loss:returns-a-number": "check_terms_are_named_finite_scalars",
}


@hookimpl
def hashzoo_losses():
    return [
        Part("fit", "losses.parts:Fit", "in good order"),
        Part("returns-a-number", "losses.parts:ReturnsANumber", "one number without a name"),
    ]
