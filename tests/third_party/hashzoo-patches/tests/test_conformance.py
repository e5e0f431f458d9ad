from hashzoo.testing import parametrize_plugin


@parametrize_plugin("patches")
def test_conformance(check):
    check()
