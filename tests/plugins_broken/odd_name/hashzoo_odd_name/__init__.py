from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_trainers():
    return [Part("A trainer", "hashzoo_odd_name.parts:Trainer", "")]
