"""Methods with an adversary: DADH (ICMR 2020)."""

from hashzoo.plugin import Method, Part, hookimpl

HASHZOO_API = 1

HEAD = "hashzoo_adversarial.heads:FeatureHead"


@hookimpl
def hashzoo_trainers() -> list[Part]:
    return [
        Part("dadh", "hashzoo_adversarial.dadh:DadhTrainer", "weighted triplets, critics of features and of codes"),
    ]


@hookimpl
def hashzoo_methods() -> list[Method]:
    return [
        Method(
            name="dadh",
            image="cnnf",
            text="bow",
            trainer="dadh",
            image_head=HEAD,
            text_head=HEAD,
            settings={
                "image_head.hidden": (512,),
                "image_head.batch_norm": True,
                "text_head.hidden": (512,),
                "text_head.batch_norm": True,
            },
            summary="triplets weighted by shared labels; critics of features and of codes",
            paper="Bai, Zeng, Ma, Zhang, Chen: Deep Adversarial Discrete Hashing, ICMR 2020",
            status="reconstruction",
        ),
    ]
