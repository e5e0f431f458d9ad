import a_package_that_is_not_installed  # noqa: F401

from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_trainers():
    return [Part("a", "hashzoo_missing_dependency.parts:Trainer", "")]
