from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_trainers():
    return [Part("a", "hashzoo_named_hashzoo.parts:Trainer", "")]
