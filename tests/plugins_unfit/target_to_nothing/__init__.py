"""A target names a class that does not exist."""

from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1
CAUGHT_BY = {"plugin:target_to_nothing": "check_targets_resolve"}


@hookimpl
def hashzoo_losses():
    return [Part("fine-target-to-nothing", "hashzoo.losses:NoSuchLoss", "a loss in good order")]
