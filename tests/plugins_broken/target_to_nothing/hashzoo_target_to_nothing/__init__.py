from hashzoo.plugin import Method, Part, hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_trainers():
    return [
        Part("absent", "hashzoo_target_to_nothing.parts:Trainer", ""),
        Part("quits", "hashzoo_target_to_nothing.quits:Trainer", ""),
        Part("number", "hashzoo_target_to_nothing.number:Trainer", ""),
    ]


@hookimpl
def hashzoo_methods():
    return [Method(name, "lite0", "minilm", trainer=name) for name in ("absent", "quits", "number")]
