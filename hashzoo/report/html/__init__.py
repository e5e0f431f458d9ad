"""The report as one HTML file that needs nothing beside itself: tables, figures, a gallery, provenance."""

from hashzoo.report.html.page import QUERIES, render, write_html

__all__ = ["QUERIES", "render", "write_html"]
