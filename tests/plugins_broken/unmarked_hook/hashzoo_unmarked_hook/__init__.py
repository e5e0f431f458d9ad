from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_encoders():
    return [Part("a", "hashzoo_unmarked_hook.parts:Encoder", "")]


def hashzoo_trainers():
    return [Part("a", "hashzoo_unmarked_hook.parts:Trainer", "")]
