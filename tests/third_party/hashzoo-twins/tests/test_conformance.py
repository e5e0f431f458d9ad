from hashzoo.testing import parametrize_plugin


@parametrize_plugin("twins")
def test_conformance(check):
    check()
