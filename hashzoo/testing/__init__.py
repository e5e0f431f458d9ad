"""For plugin authors' tests: the conformance kit, and jobs that are small, made of nothing, and learned in a second."""

from hashzoo.testing.jobs import ToyJob, share, toy_job, toy_stream
from hashzoo.testing.kit import check_plugin
from hashzoo.testing.memory import largest_tensor
from hashzoo.testing.parametrize import parametrize_plugin

__all__ = ["ToyJob", "check_plugin", "largest_tensor", "parametrize_plugin", "share", "toy_job", "toy_stream"]
