from hashzoo.plugin import hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_trainers():
    return ["a"]
