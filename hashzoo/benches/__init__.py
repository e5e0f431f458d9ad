"""Benches: from what was typed to cells, and from cells to runs that are kept, found again, scored and repeated."""
