"""The CNN-F family: the encoder of Chatfield et al. (BMVC 2014), and DCMH (Jiang and Li, CVPR 2017)."""

from hashzoo.plugin import Method, Part, hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_encoders() -> list[Part]:
    return [Part("cnnf", "hashzoo_cnnf.encoder:CNNF", "CNN-F, fc7 features; weights from imagenet-vgg-f.mat")]


@hookimpl
def hashzoo_trainers() -> list[Part]:
    return [Part("dcmh", "hashzoo_cnnf.dcmh:DcmhTrainer", "code tables of all training rows, alternating updates")]


@hookimpl
def hashzoo_methods() -> list[Method]:
    return [
        Method(
            name="dcmh",
            image="cnnf",
            text="bow",
            trainer="dcmh",
            summary="the CNN-F baseline: pairwise likelihood against tables of all training codes",
            paper="Jiang, Li: Deep Cross-Modal Hashing, CVPR 2017",
            status="reconstruction",
        )
    ]
