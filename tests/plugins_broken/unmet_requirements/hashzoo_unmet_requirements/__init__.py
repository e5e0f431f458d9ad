from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_trainers():
    return [Part("unmet", "hashzoo_unmet_requirements.parts:Trainer", "")]
