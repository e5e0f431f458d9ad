"""The ResNet baseline: SCAHN's multi-level head and loss (Wang et al., Neurocomputing 2020)."""

from hashzoo.plugin import Method, Part, hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_trainers() -> list[Part]:
    return [Part("scahn", "hashzoo_resnet.trainer:ScahnTrainer", "SCAHN's likelihoods of middle and final codes")]


@hookimpl
def hashzoo_methods() -> list[Method]:
    return [
        Method(
            name="resnet",
            image="timm:resnet34.a1_in1k",
            text="bow",
            trainer="scahn",
            image_head="hashzoo_resnet.head:MultiLevelHead",
            text_head="hashzoo_resnet.head:MultiLevelHead",
            settings={"image_head.hidden": 512, "text_head.hidden": 512},
            image_outputs=("stage1", "stage2", "stage3"),
            summary="the ResNet baseline: SCAHN on the stages of a ResNet, or on pooled features",
            paper="Wang et al., SCAHN, Neurocomputing 2020",
            status="reconstruction",
        )
    ]
