"""hashzoo's conformance kit, on all that this package offers."""

from hashzoo.testing import parametrize_plugin


@parametrize_plugin("milvus")
def test_conformance(check):
    check()
