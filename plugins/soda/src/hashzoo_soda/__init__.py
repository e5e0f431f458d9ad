"""SODA: cross-modal hashing with a teacher that reads label prompts (arXiv 2510.09664)."""

from hashzoo.plugin import Method, Part, hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_trainers() -> list[Part]:
    return [
        Part("soda", "hashzoo_soda.trainer:SodaTrainer", "teacher on images and label prompts, student on texts"),
        Part("soda-sets", "hashzoo_soda.sets:SetSodaTrainer", "SODA's stages with a contrast over all label sets"),
    ]


@hookimpl
def hashzoo_methods() -> list[Method]:
    return [
        Method(
            name="soda",
            image="clip:ViT-B-16/openai",
            text="clip:ViT-B-16/openai",
            trainer="soda",
            settings={"image_head.dropout": 0.2, "text_head.dropout": 0.2},
            summary="label prompts teach the image codes, frozen image codes teach the text codes",
            paper="Sun, Chen, Yan: arXiv 2510.09664",
            status="reconstruction",
        ),
        Method(
            name="soda-sets",
            image="clip:ViT-B-16/openai",
            text="clip:ViT-B-16/openai",
            trainer="soda-sets",
            settings={"image_head.dropout": 0.2, "text_head.dropout": 0.2},
            summary="soda whose stages also contrast each row with all label sets; soft targets",
            paper="hashzoo, after Sun, Chen, Yan: arXiv 2510.09664",
            status="ours",
        ),
    ]
