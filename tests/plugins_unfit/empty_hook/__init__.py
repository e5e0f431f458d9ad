"""Its hook returns an empty list."""

from hashzoo.plugin import hookimpl

HASHZOO_API = 1
CAUGHT_BY = {"plugin:empty_hook": "check_it_offers_something"}


@hookimpl
def hashzoo_losses():
    return []
