"""The hashzoo plugin: one data set."""

from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_datasets():
    """Offer the data set."""
    return [
        Part(
            "digits-like",
            "hashzoo_arrays.digits:DigitsLike",
            "seven-segment digits with captions (digits-like/noisy: worn)",
        )
    ]
