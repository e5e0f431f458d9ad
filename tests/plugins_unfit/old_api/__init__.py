"""It was written for an older API."""

from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 0
CAUGHT_BY = {"plugin:old_api": "check_api_number_is_current"}


@hookimpl
def hashzoo_losses():
    return [Part("fine-old-api", "hashzoo.losses:Pairwise", "a loss in good order")]
