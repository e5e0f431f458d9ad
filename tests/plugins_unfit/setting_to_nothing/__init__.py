"""A method sets what its trainer does not take."""

from hashzoo.plugin import Method, hookimpl

HASHZOO_API = 1
CAUGHT_BY = {"plugin:setting_to_nothing": "check_settings_are_constructor_keywords"}


@hookimpl
def hashzoo_methods():
    settings = {"trainer.no_such_keyword": 1}
    return [Method("wrong", "lite0", "bow", trainer="untrained", settings=settings, summary="sets nothing")]
