from hashzoo.plugin import Part, hookimpl


def __getattr__(name):
    raise RuntimeError(f"no attribute {name}")


@hookimpl
def hashzoo_trainers():
    return [Part("a", "hashzoo_raising_attribute.parts:Trainer", "")]
