"""Methods with an adversary: SSAH (CVPR 2018), AGAH (ICMR 2019) and DADH (ICMR 2020)."""

from hashzoo.plugin import Method, Part, hookimpl

HASHZOO_API = 1

HEAD = "hashzoo_adversarial.heads:FeatureHead"
ATTENTION = "hashzoo_adversarial.attention:AttentionHead"


@hookimpl
def hashzoo_trainers() -> list[Part]:
    return [
        Part("dadh", "hashzoo_adversarial.dadh:DadhTrainer", "weighted triplets, critics of features and of codes"),
        Part(
            "ssah", "hashzoo_adversarial.ssah:SsahTrainer", "a label network's features and codes, critics of features"
        ),
        Part("agah", "hashzoo_adversarial.agah:AgahTrainer", "triplets, a code for each label, critics of features"),
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
        Method(
            name="ssah",
            image="cnnf",
            text="bow",
            trainer="ssah",
            image_head=HEAD,
            text_head="hashzoo_adversarial.scales:MultiScaleHead",
            settings={"text_head.hidden": (512,)},
            summary="a network of labels teaches both towers; critics tell their features from its",
            paper="Li, Deng, Li, Liu, Gao, Tao: Self-Supervised Adversarial Hashing Networks, CVPR 2018",
            status="reconstruction",
        ),
        Method(
            name="agah",
            image="cnnf",
            text="bow",
            trainer="agah",
            image_head=ATTENTION,
            text_head=ATTENTION,
            summary="triplets, attention to labels, a binary code for each label, critics of both features",
            paper="Gu, Gu, Gu, Li, Xiong, Wang: Adversary Guided Asymmetric Hashing, ICMR 2019",
            status="reconstruction",
        ),
    ]
