from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1


class Anything:
    def __getattr__(self, name):
        return self


class Nothing:
    def __getattr__(self, name):
        raise RuntimeError(name)


anything, nothing = Anything(), Nothing()


@hookimpl
def hashzoo_trainers():
    return [Part("fine", "hashzoo_odd_objects:Anything", "")]
