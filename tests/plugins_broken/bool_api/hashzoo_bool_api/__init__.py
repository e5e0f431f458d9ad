from hashzoo.plugin import Part, hookimpl

HASHZOO_API = True


@hookimpl
def hashzoo_trainers():
    return [Part("a", "hashzoo_bool_api.parts:Trainer", "")]
