from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_trainers():
    return [Part("common", "hashzoo_other_of_a_name.parts:Trainer", "")]
