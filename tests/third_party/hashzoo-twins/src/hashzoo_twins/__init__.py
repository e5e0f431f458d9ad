"""The hashzoo plugin: one trainer, and the method that uses it."""

from hashzoo.plugin import Method, Part, hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_trainers():
    """Offer the trainer."""
    return [
        Part("twin-tables", "hashzoo_twins.trainer:TwinTables", "two networks in turns, each against the other's table")
    ]


@hookimpl
def hashzoo_methods():
    """Offer the method."""
    return [
        Method(
            "twin-tables",
            image="lite0",
            text="minilm",
            trainer="twin-tables",
            summary="pairwise likelihood of each batch against a table of the other modality's codes",
            paper="after Jiang and Li: Deep Cross-Modal Hashing, CVPR 2017",
            status="reconstruction",
        )
    ]
