"""Runs on disk to tables: terminal, Markdown, CSV, JSON, LaTeX."""

from hashzoo.report.collect import collect, frame
from hashzoo.report.table import Table, tables

__all__ = ["Table", "collect", "frame", "tables"]
