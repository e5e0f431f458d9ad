"""It imports torch."""

import torch  # noqa: F401 - what this plugin is about

from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1
CAUGHT_BY = {"plugin:heavy_import": "check_import_is_light"}


@hookimpl
def hashzoo_losses():
    return [Part("fine-heavy-import", "hashzoo.losses:Pairwise", "a loss in good order")]
