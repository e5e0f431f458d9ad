"""hashzoo's conformance kit, on all that this package offers."""

from hashzoo.testing import parametrize_plugin

OVERFITS = (
    "the released ridge of 0.001 lets hash functions interpolate 160 rows; test_ocmfh.py has the kit's rows and 1"
)

DRAWS_ANCHORS = "160 rows are fewer than its anchors, and it draws nothing else"


@parametrize_plugin(
    "online",
    expected_failures={
        "method:ocmfh/check_it_beats_random_codes": OVERFITS,
        "method:rohlse/check_other_seed_gives_other_codes": DRAWS_ANCHORS,
    },
)
def test_conformance(check):
    check()
