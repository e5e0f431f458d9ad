"""A plugin that is admitted and whose parts fail when they are used, each in its way."""

from hashzoo.plugin import Method, Part, hookimpl

HASHZOO_API = 1
TRAINERS = ("collapses", "forgets", "widens", "quits", "unstorable", "explodes")


def part(name):
    return Part(name, f"hashzoo_faulty.parts:{name.capitalize()}", "")


@hookimpl
def hashzoo_datasets():
    return [part("unreadable"), part("unlabelled"), part("leaking")]


@hookimpl
def hashzoo_encoders():
    return [part("breaks"), part("stumbles"), part("unsaid")]


@hookimpl
def hashzoo_trainers():
    return [part(name) for name in TRAINERS]


@hookimpl
def hashzoo_methods():
    return [Method(name, "tiny", "bow", trainer=name, settings={"image_head.hidden": 0}) for name in TRAINERS]
