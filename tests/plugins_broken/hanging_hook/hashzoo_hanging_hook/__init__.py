import itertools

from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_trainers():
    for number in itertools.count():
        yield Part(f"a{number}", "hashzoo_hanging_hook.parts:Trainer", "")
