"""Distillation from adversarial teachers: UKD (Hu et al., CVPR 2020) and SKDCH (Su et al., TMM 2023)."""

from hashzoo.plugin import Method, Part, hookimpl

HASHZOO_API = 1

VGG_AND_WORDS = {"teacher_image": "vgg19", "teacher_text": "bow"}  # of the student, before any training


@hookimpl
def hashzoo_trainers() -> list[Part]:
    return [
        Part("ukd", "hashzoo_distill.ukd:UkdTrainer", "UGACH's teacher without labels, a student on its neighbours"),
        Part("skdch", "hashzoo_distill.skdch:SkdchTrainer", "teacher on some labels, student on pseudo labels of all"),
    ]


@hookimpl
def hashzoo_methods() -> list[Method]:
    return [
        Method(
            name="ukd",
            image="vgg19",
            text="bow",
            trainer="ukd",
            extra=VGG_AND_WORDS,
            summary="no labels: an adversarial teacher's neighbours supervise a pairwise student",
            paper="Hu, Xie, Hong, Tian: Creating Something from Nothing, CVPR 2020",
            status="reconstruction",
        ),
        Method(
            name="skdch",
            image="vgg19",
            text="bow",
            trainer="skdch",
            extra=VGG_AND_WORDS,
            image_head="hashzoo_distill.networks:SigmoidHead",
            text_head="hashzoo_distill.networks:SigmoidHead",
            summary="labels of some rows: an adversarial teacher gives pseudo labels to a triplet student",
            paper="Su, Gu, Ren, Fu, Zhao: Semi-Supervised Knowledge Distillation, TMM 2023",
            status="reconstruction",
        ),
    ]
