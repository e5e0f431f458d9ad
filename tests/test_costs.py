"""What a method costs: counted by hand, shown beside its score in every format."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import SMALL
from rich.console import Console
from test_report import TRACK, failed, result
from torch import nn

from hashzoo import Towers
from hashzoo.benches.benchmark import bench
from hashzoo.cost import cost_of
from hashzoo.linear import Projection
from hashzoo.report import collect, frame, make_costs
from hashzoo.report.costs import short
from hashzoo.report.formats import latex_costs, markdown_costs, print_costs


def cost(parameters, macs):
    return {"image": {"parameters": parameters, "macs": macs}, "text": {"parameters": 10, "macs": 8}}


def costs_of(*results):
    return make_costs({"schema": 1, "track": TRACK, "results": list(results)})


def test_the_products_of_layers_are_counted():
    image = nn.Sequential(nn.Conv2d(3, 4, 5), nn.Flatten(), nn.Linear(4 * 6 * 6, 2))
    text = nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 2))
    told = cost_of(Towers(image, text), torch.zeros(1, 3, 10, 10), torch.zeros(1, 7))
    convolution, linear = 6 * 6 * 4 * (3 * 5 * 5), 144 * 2
    assert told["image"] == {"parameters": 4 * 75 + 4 + 144 * 2 + 2, "macs": convolution + linear}
    assert told["text"] == {"parameters": 40 + 10 + 12, "macs": 35 + 10}
    assert image.training
    assert text.training


def test_the_product_of_a_closed_form_is_counted():
    told = cost_of(Towers(Projection(7, 3), Projection(5, 3)), torch.zeros(1, 7), torch.zeros(1, 5))
    assert told == {"image": {"parameters": 7 + 21 + 3, "macs": 21}, "text": {"parameters": 5 + 15 + 3, "macs": 15}}


def test_a_row_a_method_the_best_first():
    results = [
        result("soda", 16, 0.5, 0.6, cost=cost(1_500_000, 900), train=1.0),
        result("soda", 16, 0.7, 0.6, cost=cost(1_500_000, 900), train=2.0, seed=1),
        result("dcmh", 16, 0.7, 0.8, cost=cost(20, 30)),
        failed("resnet", 16),
    ]
    costs = costs_of(*results)
    assert costs.title == "Costs on emoji, 16 bits"
    assert costs.heads == ("mean mAP", "train s", "parameters", "MACs image", "MACs text", "bytes")
    assert [(label, [text for text, _ in cells]) for label, cells in costs.rows] == [
        ("dcmh", [".750", "1.2", "30", "30", "8", "2"]),
        ("soda", [".600", "1.5", "1.5 M", "900", "8", "2"]),
    ]


def test_the_code_length_is_the_longest_that_most_rows_have():
    results = [result(name, bits, cost=cost(1, 1)) for name in ("soda", "dcmh") for bits in (16, 20)]
    assert costs_of(*results, result("soda", 64, cost=cost(1, 1))).title.endswith("20 bits")
    assert costs_of(*results).rows[0][1][-1] == ("3", 3)  # 20 bits are kept in 3 bytes


def test_runs_that_do_not_tell_have_no_table():
    assert costs_of(result(), failed()) is None


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1000, "1 k"), (26_700, "26.7 k"), (999_499, "999 k"), (999_500, "1 M"), (3e9, "3 G")],
)
def test_three_digits_of_a_large_number(number, text):
    assert short(number) == text


def test_every_format_has_every_cell():
    costs = costs_of(result("soda_x", 16, cost=cost(1_500_000, 900)))
    console = Console(width=80, record=True)
    print_costs(costs, console)
    for text in (console.export_text(), markdown_costs(costs)):
        assert all(cell in text for cell in ("soda_x", *costs.heads, "1.5 M", "900", costs.title))
    assert r"soda\_x & .550 & 1.2 & 1.5\,M & 900 & 8 & 2 \\" in latex_costs(costs)


def test_a_bench_tells_costs_and_a_report_shows_them(tiny, command, sentence):
    outcome = bench(["toy"], [16], dataset="scenes", encoders="tiny+bow", settings=SMALL, threads=1)
    told = {run["method"]: run["cost"] for run in outcome["results"]}
    assert told["toy"]["image"]["macs"] > 0
    assert told["toy"]["text"]["parameters"] > 0
    line = frame(collect(Path("runs"))).iloc[0]
    assert (line["image_macs"], line["text_parameters"]) == (
        told["toy"]["image"]["macs"],
        told["toy"]["text"]["parameters"],
    )
    shown = command("report", "--costs")
    assert (shown.code, shown.err) == (0, "")
    assert "Costs on scenes, 16 bits" in shown.out
    assert command("report", "--costs", "--md").out.startswith("**Costs on scenes, 16 bits**")
    assert r"\begin{tabular}{lrrrrrr}" in command("report", "--costs", "--latex").out
    assert sentence("report", "--costs", "--json").startswith("hashzoo: --costs prints tables of its own")
