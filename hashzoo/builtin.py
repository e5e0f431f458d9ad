"""What the core itself offers, through the same hooks as everyone."""

from __future__ import annotations

from hashzoo.plugin import Method, Part, hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_datasets() -> list[Part]:
    return [
        Part(
            "emoji", "hashzoo.data.emoji:Emoji", "the same things drawn by three vendors (emoji/full: nine), with words"
        ),
        Part(
            "scenes", "hashzoo.data.scenes:Scenes", "drawn by hashzoo itself: objects on backgrounds; needs no network"
        ),
        Part(
            "mirflickr25k",
            "hashzoo.data.mirflickr25k:Mirflickr25k",
            "MIRFLICKR-25K photographs and tags, 24 labels: /dcmh, /torchcmh, /ucch, /mith, /dchmt",
        ),
        Part(
            "nuswide",
            "hashzoo.data.nuswide:NusWide",
            "NUS-WIDE photographs and tags, 21 or 10 labels: /tc21, /tc10, /mith, /dchmt",
        ),
        Part("coco", "hashzoo.data.coco:Coco", "COCO photographs and captions, 80 labels: /dchmt, /2014, /ucch"),
        Part(
            "iaprtc12",
            "hashzoo.data.iaprtc12:IaprTc12",
            "IAPR TC-12 photographs and descriptions, 255 labels: /dcmh, /ucch",
        ),
        Part("files", "hashzoo.data.files:Files", "files/NAME: your .mat files (DCMH, DCHMT), image lists or captions"),
        Part("table", "hashzoo.data.table:Table", "your own: table:PATH of a JSONL, CSV or Parquet file, or a folder"),
        Part("wiki", "hashzoo.data.wiki:Wiki", "Wikipedia articles (Rasiwasia), as SIFT and topic features"),
    ]


@hookimpl
def hashzoo_encoders() -> list[Part]:
    return [
        Part("lite0", "hashzoo.encoders.lite0:Lite0", "EfficientNet-Lite0, ImageNet weights from a package"),
        Part("timm", "hashzoo.encoders.timm:TimmEncoder", "any image model of timm: timm:resnet50.a1_in1k"),
        Part("vgg16", "hashzoo.encoders.vgg:VGG16", "VGG-16, the 4,096 features of fc7, torchvision's weights"),
        Part("vgg19", "hashzoo.encoders.vgg:VGG19", "VGG-19, the 4,096 features of fc7, torchvision's weights"),
        Part("clip", "hashzoo.encoders.clip:Clip", "any CLIP of open_clip, both modalities: clip:ViT-B-16/openai"),
        Part(
            "minilm", "hashzoo.encoders.minilm:MiniLM", "all-MiniLM-L6-v2 sentence embeddings, weights from a package"
        ),
        Part(
            "st", "hashzoo.encoders.st:SentenceEncoder", "any text model of sentence-transformers: st:all-mpnet-base-v2"
        ),
        Part("conse", "hashzoo.encoders.conse:Conse", "lite0 and minilm in one space (ConSE), both modalities"),
        Part("bow", "hashzoo.encoders.bow:BagOfWords", "bag of words over the training texts"),
        Part("given", "hashzoo.encoders.lookup:Given", "the features that a data set brings itself, both modalities"),
        Part("archive", "hashzoo.encoders.archive:Archive", "features computed elsewhere: archive:FOLDER"),
    ]


@hookimpl
def hashzoo_losses() -> list[Part]:
    return [
        Part("pairwise", "hashzoo.losses:Pairwise", "pairwise likelihood in the batch, quantisation and bit balance"),
    ]


@hookimpl
def hashzoo_trainers() -> list[Part]:
    return [
        Part("sgd", "hashzoo.train:GradientTrainer", "both towers on one loss, mini-batches, a fixed number of epochs"),
        Part("untrained", "hashzoo.train:Untrained", "fresh towers as they are"),
    ]


@hookimpl
def hashzoo_indexes() -> list[Part]:
    return [
        Part("exact", "hashzoo.search.exact:ExactIndex", "compares every query with every code; no settings, no loss"),
    ]


@hookimpl
def hashzoo_methods() -> list[Method]:
    return [
        Method(
            name="random",
            image="lite0",
            text="minilm",
            trainer="untrained",
            image_head="hashzoo.model:RandomHead",
            text_head="hashzoo.model:RandomHead",
            summary="random codes: what no learning at all scores",
        ),
    ]
