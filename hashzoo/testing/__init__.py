"""For plugin authors' tests: jobs that are small, made of nothing, and can be learned in a second."""

from hashzoo.testing.jobs import ToyJob, toy_job

__all__ = ["ToyJob", "toy_job"]
