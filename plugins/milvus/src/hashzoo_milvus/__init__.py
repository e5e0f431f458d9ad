"""Milvus under hashzoo's contract of an index."""

from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_indexes() -> list[Part]:
    return [Part("milvus", "hashzoo_milvus.index:MilvusIndex", "Milvus, embedded or a cluster by its address")]
