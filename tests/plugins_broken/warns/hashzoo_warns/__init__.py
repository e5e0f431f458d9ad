import warnings

from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1
warnings.warn("this plugin is old", DeprecationWarning, stacklevel=1)


@hookimpl
def hashzoo_trainers():
    return [Part("old", "hashzoo_warns.parts:Trainer", "")]
