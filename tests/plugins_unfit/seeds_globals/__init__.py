"""It seeds the global random numbers."""

import random

from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1
CAUGHT_BY = {"plugin:seeds_globals": "check_import_changes_no_global_state"}
random.seed(0)


@hookimpl
def hashzoo_losses():
    return [Part("fine-seeds-globals", "hashzoo.losses:Pairwise", "a loss in good order")]
