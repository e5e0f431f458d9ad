"""The core's own parts keep the contracts that the kit asks of plugins."""

from hashzoo.testing import parametrize_plugin


@parametrize_plugin("scenes", tier="contract")
def test_scenes(check):
    check()


@parametrize_plugin("bow", tier="contract")
def test_bow(check):
    check()


@parametrize_plugin("lite0", tier="contract")
def test_lite0(check):
    check()


@parametrize_plugin("timm:resnet10t", tier="contract")
def test_timm(check):
    check()


@parametrize_plugin("pairwise", tier="contract")
def test_pairwise(check):
    check()
