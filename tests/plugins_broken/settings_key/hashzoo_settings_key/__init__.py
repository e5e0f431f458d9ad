from hashzoo.plugin import Method, hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_methods():
    return [Method("a", "lite0", "minilm", settings={1: 2})]
