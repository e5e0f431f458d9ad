"""hashzoo's conformance kit, on all that this package offers."""

from hashzoo.testing import parametrize_plugin

OVERFITS = (
    "the released ridge of 0.001 lets hash functions interpolate 160 rows; test_ocmfh.py has the kit's rows and 1"
)


@parametrize_plugin("online", expected_failures={"method:ocmfh/check_it_beats_random_codes": OVERFITS})
def test_conformance(check):
    check()
