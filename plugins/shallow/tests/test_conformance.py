"""hashzoo's conformance kit, on all that this package offers."""

from hashzoo.testing import parametrize_plugin

EXACT = "it has a unique solution and draws nothing, unless there are more bits than features"


@parametrize_plugin(
    "shallow",
    expected_failures={f"method:{name}/check_other_seed_gives_other_codes": EXACT for name in ("scm", "cvh")},
)
def test_conformance(check):
    check()
