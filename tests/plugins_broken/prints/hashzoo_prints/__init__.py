from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1
print("hello from the import")


@hookimpl
def hashzoo_trainers():
    print("hello from the hook")
    return [Part("loud", "hashzoo_prints.parts:Loud", "")]
