from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_trainers():
    return [Part("contested", "hashzoo_first_of_two:Trainer", ""), Part("first", "hashzoo_first_of_two:Trainer", "")]
