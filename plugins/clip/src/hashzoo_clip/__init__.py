"""Methods that were written for CLIP: a likelihood baseline, DCHMT, MITH, DSPH, DNPH and DNpH."""

from hashzoo.plugin import Method, Part, hookimpl

HASHZOO_API = 1

ENCODER = "clip:ViT-B-32/openai"
# The authors' code: weight decay of BertAdam, texts of 32 tokens.
COMMON: dict[str, object] = {"trainer.weight_decay": 0.2, "text.max_tokens": 32}
# Ours, for frozen encoders: the papers' heads are linear on a CLIP that is trained along.
HIDDEN: dict[str, object] = {"image_head.hidden": 512, "text_head.hidden": 512}


@hookimpl
def hashzoo_losses() -> list[Part]:
    return [
        Part(
            "clip-likelihood", "hashzoo_clip.likelihood:ClipLikelihood", "likelihood of image-text pairs in the batch"
        ),
        Part("dchmt", "hashzoo_clip.dchmt:Dchmt", "distances of softmax pairs, inside and between modalities"),
        Part("qsmi", "hashzoo_clip.qsmi:Qsmi", "quadratic spherical mutual information of codes and shared labels"),
    ]


@hookimpl
def hashzoo_trainers() -> list[Part]:
    return [
        Part("dsph", "hashzoo_clip.dsph:DsphTrainer", "learned class proxies, irrelevant rows driven apart"),
        Part("dnph", "hashzoo_clip.dnph:DnphTrainer", "class proxies under a softmax, codes spread evenly"),
        Part(
            "mith", "hashzoo_clip.mith:MithTrainer", "codes of items and of their tokens, which learn from each other"
        ),
    ]


@hookimpl
def hashzoo_methods() -> list[Method]:
    return [
        Method(
            name="clip-baseline",
            image=ENCODER,
            text=ENCODER,
            loss="clip-likelihood",
            settings=COMMON
            | {"image_head.hidden": 256, "text_head.hidden": 256, "image_head.dropout": 0.3, "text_head.dropout": 0.3},
            summary="the simple baseline on CLIP: likelihood of pairs in the batch, one hidden layer",
            paper="repository kalenforn/clip-based-cross-modal-hash",
            status="reconstruction",
        ),
        Method(
            name="dchmt",
            image=ENCODER,
            text=ENCODER,
            loss="dchmt",
            image_head="hashzoo_clip.heads:SelectHead",
            text_head="hashzoo_clip.heads:SelectHead",
            settings=COMMON | {"trainer.lr": 0.01},
            summary="two logits a bit and their softmax, distances with a margin",
            paper="Tu et al.: Differentiable Cross-modal Hashing via Multimodal Transformers, ACM MM 2022",
            status="reconstruction",
        ),
        Method(
            name="dchmt-attention",
            image=ENCODER,
            text=ENCODER,
            loss="dchmt",
            image_head="hashzoo_clip.heads:AttentiveHead",
            text_head="hashzoo_clip.heads:AttentiveHead",
            image_outputs=("tokens",),
            text_outputs=("tokens",),
            settings=COMMON | {"image_head.norm": "batch", "text_head.norm": "layer", "loss.vartheta": 0.75},
            summary="DCHMT with its later head, whose attention sees the tokens of the encoders",
            paper="Tu et al., ACM MM 2022; repository kalenforn/clip-based-cross-modal-hash",
            status="reconstruction",
        ),
        Method(
            name="mith",
            image=ENCODER,
            text=ENCODER,
            trainer="mith",
            image_head="hashzoo_clip.concepts:MithHead",
            text_head="hashzoo_clip.concepts:MithHead",
            image_outputs=("tokens",),
            text_outputs=("tokens",),
            settings={"text.max_tokens": 32},
            summary="a code of the whole item and one of its tokens, a concept for each bit",
            paper="Liu et al.: Multi-Granularity Interactive Transformer Hashing, ACM MM 2023",
            status="reconstruction",
        ),
        Method(
            name="dsph",
            image=ENCODER,
            text=ENCODER,
            trainer="dsph",
            image_head="hashzoo_clip.heads:LinearHead",
            text_head="hashzoo_clip.heads:LinearHead",
            settings=COMMON | HIDDEN,
            summary="proxies of classes, with a threshold from coding theory, and irrelevant rows apart",
            paper="Huo et al.: Deep Semantic-aware Proxy Hashing for Multi-label Cross-modal Retrieval, TCSVT 2023",
            status="reconstruction",
        ),
        Method(
            name="dnph",
            image=ENCODER,
            text=ENCODER,
            trainer="dnph",
            image_head="hashzoo_clip.heads:LinearHead",
            text_head="hashzoo_clip.heads:LinearHead",
            settings=COMMON | HIDDEN,
            summary="proxies of classes under a softmax, random codes assigned to rows spread them",
            paper="Huo et al.: Deep Neighborhood-aware Proxy Hashing with Uniform Distribution Constraint, TOMM 2024",
            status="reconstruction",
        ),
        Method(
            name="dnph-qsmi",
            image=ENCODER,
            text=ENCODER,
            loss="qsmi",
            image_head="hashzoo_clip.heads:LinearHead",
            text_head="hashzoo_clip.heads:LinearHead",
            settings=COMMON | HIDDEN,
            summary="DNpH: quadratic spherical mutual information of codes and shared labels",
            paper="Qin et al.: Deep Neighborhood-preserving Hashing with QSMI for Cross-modal Retrieval, TMM 2024",
            status="reconstruction",
        ),
    ]
