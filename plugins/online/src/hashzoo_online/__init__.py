"""Online cross-modal hashing: methods that learn chunk after chunk, in closed form, from cached features."""

from hashzoo.plugin import Method, Part, hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_trainers() -> list[Part]:
    return [
        Part(
            "lemon", "hashzoo_online.lemon:Lemon", "codes from labels and sums over old chunks, then ridge regression"
        ),
        Part("doch", "hashzoo_online.doch:Doch", "codes bit by bit from labels and old codes, then least squares"),
        Part("rohlse", "hashzoo_online.rohlse:Rohlse", "codes from labels that are cleaned meanwhile, and kernels"),
        Part("ocmfh", "hashzoo_online.ocmfh:Ocmfh", "one factor of both modalities, updated by sums over old chunks"),
    ]


@hookimpl
def hashzoo_methods() -> list[Method]:
    return [
        _method(
            "lemon",
            "label embedding: discrete codes that keep the similarity of labels to all old rows",
            "Wang, Luo, Xu: Label Embedding Online Hashing for Cross-Modal Retrieval, ACM MM 2020",
        ),
        _method(
            "doch",
            "discrete codes, bit by bit, that keep similarity to anchors of old chunks and fit labels",
            "Zhan et al.: Discrete Online Cross-Modal Hashing, Pattern Recognition 2022",
        ),
        _method(
            "rohlse",
            "labels are cleaned, of low rank with sparse errors, while codes are learned from them; for wrong labels",
            "Li, Shu, Yu, Wu: Robust online hashing with label semantic enhancement, Pattern Recognition 2024",
        ),
        _method(
            "ocmfh",
            "collective matrix factorisation without labels; old codes follow the new factors",
            "Wang, Wang, An, Gao, Tian: Online Collective Matrix Factorization Hashing, SIGIR 2020",
        ),
    ]


def _method(name: str, summary: str, paper: str) -> Method:
    return Method(
        name, "vgg16", "bow", trainer=name, image_head="", text_head="", summary=summary, paper=paper, status="exact"
    )
