"""A summary runs over several lines."""

from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1
CAUGHT_BY = {"plugin:long_summary": "check_summaries_are_one_line"}


@hookimpl
def hashzoo_losses():
    return [Part("fine-long-summary", "hashzoo.losses:Pairwise", "a loss\nof two lines")]
