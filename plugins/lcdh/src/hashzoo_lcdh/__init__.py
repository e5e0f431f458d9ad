"""LCDH: a light student that approximates the similarities of a teacher, offline and online (arXiv 2502.19751)."""

from hashzoo.plugin import Method, Part, hookimpl

HASHZOO_API = 1

CLIP = "clip:ViT-B-32/openai"


@hookimpl
def hashzoo_trainers() -> list[Part]:
    return [Part("lcdh", "hashzoo_lcdh.trainer:LcdhTrainer", "a fused teacher's similarities, then a light student")]


@hookimpl
def hashzoo_methods() -> list[Method]:
    return [
        Method(
            name="lcdh",
            image="vgg16",
            text="bow",
            trainer="lcdh",
            extra={"teacher_image": CLIP, "teacher_text": CLIP},
            settings={"image_head.hidden": 0, "text_head.hidden": 0},
            summary="a teacher that fuses image and text, and a one-layer student of its similarity matrix",
            paper="Li, Jiang, Ma, Jiang, Fang, Wen: arXiv 2502.19751, AAAI 2025",
            status="reconstruction",
        )
    ]
