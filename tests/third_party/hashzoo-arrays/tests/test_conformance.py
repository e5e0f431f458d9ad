from hashzoo.testing import parametrize_plugin


@parametrize_plugin("arrays")
def test_conformance(check):
    check()
