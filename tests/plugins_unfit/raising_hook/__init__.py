"""Its hook raises."""

from hashzoo.plugin import hookimpl

HASHZOO_API = 1
CAUGHT_BY = {"plugin:raising_hook": "check_it_is_admitted"}


@hookimpl
def hashzoo_losses():
    raise RuntimeError("nothing to offer today")
