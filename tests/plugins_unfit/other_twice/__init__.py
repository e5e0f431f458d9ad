"""Its hook returns something else every time."""

import itertools

from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1
CAUGHT_BY = {"plugin:other_twice": "check_hooks_return_the_same_twice"}
COUNT = itertools.count()


@hookimpl
def hashzoo_losses():
    return [Part(f"loss-{next(COUNT)}", "hashzoo.losses:Pairwise", "a loss in good order")]
