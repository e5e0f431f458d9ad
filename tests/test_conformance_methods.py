"""The core's own method and its default trainer under the conformance kit."""

from hashzoo.testing import parametrize_plugin


@parametrize_plugin("random")
def test_the_method_that_learns_nothing(check):
    check()


@parametrize_plugin("sgd")
def test_the_default_trainer(check):
    check()
