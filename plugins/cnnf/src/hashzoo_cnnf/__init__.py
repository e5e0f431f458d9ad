"""CNN-F for hashzoo."""

from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_encoders() -> list[Part]:
    return [Part("cnnf", "hashzoo_cnnf.encoder:CNNF", "CNN-F (VGG-F) of Chatfield et al., 4096 features (fc7)")]
