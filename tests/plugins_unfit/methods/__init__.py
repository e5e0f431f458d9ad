"""Methods that are wrong in one way each, and one in good order."""

from hashzoo.plugin import Method, Part, hookimpl

HASHZOO_API = 1
CAUGHT_BY = {
    "method:unseeded": "check_same_seed_gives_same_codes",
}


@hookimpl
def hashzoo_trainers():
    return [
        Part("quick", "methods.parts:Quick", "in good order, and over in a moment"),
        Part("unseeded", "methods.parts:Unseeded", "takes its randomness from the operating system"),
    ]


@hookimpl
def hashzoo_methods():
    return [
        Method(
            name,
            "lite0",
            "bow",
            "pairwise",
            trainer,
            settings={"image_head.hidden": 0, "text_head.hidden": 0},
            summary=name,
        )
        for name, trainer in (("fit", "quick"), ("unseeded", "unseeded"))
    ]
