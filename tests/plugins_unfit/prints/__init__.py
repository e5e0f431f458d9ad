"""It prints when it is imported."""

from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1
CAUGHT_BY = {"plugin:prints": "check_import_prints_nothing"}
print("welcome")


@hookimpl
def hashzoo_losses():
    return [Part("fine-prints", "hashzoo.losses:Pairwise", "a loss in good order")]
