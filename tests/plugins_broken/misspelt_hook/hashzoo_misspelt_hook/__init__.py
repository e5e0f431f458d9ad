from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_trainer():
    return [Part("a", "hashzoo_misspelt_hook.parts:Trainer", "")]
