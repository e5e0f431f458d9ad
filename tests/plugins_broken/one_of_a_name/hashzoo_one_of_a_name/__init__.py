from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_trainers():
    return [Part("common", "hashzoo_one_of_a_name.parts:Trainer", "")]
