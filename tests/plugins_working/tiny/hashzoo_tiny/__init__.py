"""A plugin in good order, small enough for tests: methods toy and fragile."""

from hashzoo.plugin import Method, Part, hookimpl

HASHZOO_API = 1
QUICK = {"image_head.hidden": 0, "text_head.hidden": 0, "text.size": 64}


@hookimpl
def hashzoo_encoders():
    return [Part("tiny", "hashzoo_tiny.parts:Tiny", "sixteen colours of a picture")]


@hookimpl
def hashzoo_trainers():
    return [Part("fragile", "hashzoo_tiny.parts:Fragile", "fails at one code length")]


@hookimpl
def hashzoo_methods():
    return [
        Method("toy", "tiny", "bow", "pairwise", settings={**QUICK, "trainer.epochs": 2}, summary="quick"),
        Method("fragile", "tiny", "bow", trainer="fragile", settings=QUICK, status="reconstruction"),
    ]
