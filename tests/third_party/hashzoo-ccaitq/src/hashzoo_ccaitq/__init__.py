"""The hashzoo plugin: one trainer, and the method that uses it."""

from hashzoo.plugin import Method, Part, hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_trainers():
    """Offer the trainer."""
    return [Part("cca-itq", "hashzoo_ccaitq.trainer:CcaItq", "regularised CCA between the modalities, then ITQ")]


@hookimpl
def hashzoo_methods():
    """Offer the method."""
    return [
        Method(
            "cca-itq",
            image="lite0",
            text="minilm",
            trainer="cca-itq",
            summary="canonical correlations of images and texts, rotated to binary codes; no labels, no gradients",
            paper="Gong and Lazebnik: Iterative Quantization, CVPR 2011",
            status="reconstruction",
        )
    ]
