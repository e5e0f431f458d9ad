"""Cross-modal hashing in closed form (CCA-ITQ, SCM, CVH, CMFH), and the unsupervised, contrastive UCCH."""

from hashzoo.plugin import Method, Part, hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_trainers() -> list[Part]:
    return [
        Part("cca-itq", "hashzoo_shallow.ccaitq:CcaItq", "canonical correlations, rotated so that signs lose little"),
        Part("scm", "hashzoo_shallow.scm:Scm", "bit after bit, what is left over of the similarity of labels"),
        Part("cvh", "hashzoo_shallow.cvh:Cvh", "signs of canonical variables"),
        Part("cmfh", "hashzoo_shallow.cmfh:Cmfh", "one latent factor of both modalities, with linear hash functions"),
        Part("ucch", "hashzoo_shallow.ucch:Ucch", "contrast with binary codes of all rows, and ranking; no labels"),
    ]


@hookimpl
def hashzoo_methods() -> list[Method]:
    return [
        _closed_form(
            "cca-itq",
            "canonical correlations of images and texts, and the rotation that loses least to the sign; no labels",
            "Gong, Lazebnik: Iterative Quantization: A Procrustean Approach to Learning Binary Codes, CVPR 2011",
        ),
        _closed_form(
            "scm",
            "semantic correlation maximisation, sequential: bits fitted one by one to the similarity of labels",
            "Zhang, Li: Large-Scale Supervised Multimodal Hashing with Semantic Correlation Maximization, AAAI 2014",
        ),
        _closed_form(
            "cvh",
            "cross-view hashing: signs of the canonical variables of images and texts; no labels",
            "Kumar, Udupa: Learning Hash Functions for Cross-View Similarity Search, IJCAI 2011",
        ),
        _closed_form(
            "cmfh",
            "collective matrix factorisation of images and texts; no labels",
            "Ding, Guo, Zhou: Collective Matrix Factorization Hashing for Multimodal Data, CVPR 2014",
        ),
        Method(
            "ucch",
            "vgg19",
            "bow",
            trainer="ucch",
            summary="unsupervised contrastive hashing: outputs against a memory of binary codes; no labels",
            paper="Hu, Zhu, Lin, Peng, Zhao, Peng: Unsupervised Contrastive Cross-Modal Hashing, TPAMI 2022",
            status="reconstruction",
        ),
    ]


def _closed_form(name: str, summary: str, paper: str) -> Method:
    """A method whose trainer makes its towers itself."""
    return Method(
        name,
        "vgg16",
        "bow",
        trainer=name,
        image_head="",
        text_head="",
        summary=summary,
        paper=paper,
        status="reconstruction",
    )
