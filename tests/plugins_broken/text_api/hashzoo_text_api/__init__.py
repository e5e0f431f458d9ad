from hashzoo.plugin import Part, hookimpl

HASHZOO_API = "1"


@hookimpl
def hashzoo_trainers():
    return [Part("a", "hashzoo_text_api.parts:Trainer", "")]
