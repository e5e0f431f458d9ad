from hashzoo.plugin import Method, hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_methods():
    return [Method("random", "lite0", "minilm", "pairwise")]
