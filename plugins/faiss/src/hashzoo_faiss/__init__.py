"""The binary indexes of FAISS under hashzoo's contract of an index."""

from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_indexes() -> list[Part]:
    return [
        Part("faiss-flat", "hashzoo_faiss.flat:FlatIndex", "FAISS, every code compared; exact"),
        Part("faiss-ivf", "hashzoo_faiss.ivf:IvfIndex", "FAISS, inverted lists; only near clusters are compared"),
        Part("faiss-hnsw", "hashzoo_faiss.graph:HnswIndex", "FAISS, a graph of neighbours that is walked to the query"),
        Part(
            "faiss-multihash",
            "hashzoo_faiss.tables:MultiHashIndex",
            "FAISS, hash tables of parts of the code; finds all within a radius",
        ),
    ]
