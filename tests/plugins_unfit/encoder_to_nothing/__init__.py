"""A method names an encoder that nobody offers."""

from hashzoo.plugin import Method, hookimpl

HASHZOO_API = 1
CAUGHT_BY = {"plugin:encoder_to_nothing": "check_recipe_names_resolve"}


@hookimpl
def hashzoo_methods():
    return [Method("lost", "no-such-encoder", "bow", trainer="untrained", summary="without an encoder")]
