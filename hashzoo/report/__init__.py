"""Runs on disk to tables: terminal, Markdown, CSV, JSON, LaTeX."""

from hashzoo.report.collect import collect, frame
from hashzoo.report.costs import Costs, make_costs
from hashzoo.report.folds import join_folds
from hashzoo.report.pivot import Pivot, pivot
from hashzoo.report.table import Table, make_table

__all__ = ["Costs", "Pivot", "Table", "collect", "frame", "join_folds", "make_costs", "make_table", "pivot"]
