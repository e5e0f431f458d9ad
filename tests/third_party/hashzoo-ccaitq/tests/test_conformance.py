from hashzoo.testing import parametrize_plugin


@parametrize_plugin("ccaitq")
def test_conformance(check):
    check()
