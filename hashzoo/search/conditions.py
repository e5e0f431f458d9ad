"""What a condition on metadata may be: one expression on the columns of a row that costs no more than it seems to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from hashzoo.errors import HashzooError

# Expressions whose values are not larger than what they are made of. Functions such as repeat() or range() are not
# among them: their values count towards no limit of DuckDB.
EXPRESSIONS = {
    *("COLUMN_REF", "CONSTANT", "COMPARISON", "CONJUNCTION", "BETWEEN", "CASE", "CAST", "TYPE", "FUNCTION"),
    *("OPERATOR", "COLLATE"),
}
OPERATORS = {
    *("+", "-", "*", "/", "//", "%", "~~", "!~~", "~~*", "!~~*", "~~~", "like_escape", "not_like_escape"),
    *("ilike_escape", "not_ilike_escape", "^@", "list_value", "row", "trunc"),
    *(f"to_{unit}s" for unit in ("year", "month", "week", "day", "hour", "minute", "second")),
}
FUNCTIONS = {
    *("lower", "upper", "length", "len", "trim", "left", "right", "substring", "contains", "starts_with", "ends_with"),
    *("regexp_matches", "regexp_full_match", "list_contains", "list_has_any", "list_has_all", "abs", "round", "floor"),
    *("ceil", "least", "greatest", "nullif", "isnan", "year", "month", "day", "hour", "minute", "second", "dayofweek"),
    *("date_part", "date_trunc"),
}
TYPES = {
    *("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "DECIMAL", "VARCHAR", "TEXT", "STRING"),
    *("DATE", "TIME", "TIMESTAMP", "INTERVAL", "LIST"),
}
LONGEST = 1 << 16  # characters


def check_condition(connection: Any, where: str) -> None:
    """HashzooError unless a condition that DuckDB can parse is made of what is listed here.

    What it cannot parse passes: it says best itself what is wrong.
    """
    if len(where) > LONGEST:
        raise HashzooError(f"the condition has {len(where):,} characters, more than {LONGEST:,}; write a shorter one")
    [(parsed,)] = connection.execute("SELECT json_serialize_sql(?)", [f"SELECT 1 WHERE ({where}\n)"]).fetchall()
    try:
        tree = json.loads(parsed)
    except RecursionError:
        raise HashzooError("the condition has too many brackets or NOTs inside each other; make it simpler") from None
    for node in _nodes([statement["node"]["where_clause"] for statement in tree.get("statements", ())]):
        kind, name = node["class"], node.get("function_name", "").lower()
        if kind == "SUBQUERY":
            raise HashzooError(
                "a condition has no SELECT inside, and no ANY or ALL; write an expression on the columns"
            )
        if kind == "FUNCTION" and name not in OPERATORS | FUNCTIONS:
            raise HashzooError(f"there is no {name}() in conditions; the functions are {', '.join(sorted(FUNCTIONS))}")
        if kind == "TYPE" and node["type_name"].upper() not in TYPES:
            raise HashzooError(f"a condition converts to no {node['type_name']}; leave this out")
        if kind not in EXPRESSIONS:
            raise HashzooError(f"a condition has no {kind.lower()} inside; write an expression on the columns")


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """All expressions in a parsed condition."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if "class" in node:
                yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)
