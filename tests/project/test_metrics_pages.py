"""The page of metrics is complete, and the alert rules and the dashboard name only metrics and labels that exist."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from perdure.telemetry.prometheus.metrics import METRICS, Metric

DOCS = Path(__file__).parents[2] / "docs"
ALERTS = DOCS / "how-to/prometheus/alerts.yml"
DASHBOARD = DOCS / "how-to/prometheus/grafana.json"

SERIES = {
    metric.name + suffix: metric
    for metric in METRICS
    for suffix in (("_bucket", "_sum", "_count") if metric.form == "histogram" else ("",))
}
OF_EVERY_TARGET = {"instance", "le"}


def row(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{metric.name.removeprefix('perdure_')}` | {metric.form} | {labels} | {metric.help.removesuffix('.')} |"


def test_the_page_lists_every_metric() -> None:
    lines = (DOCS / "reference/prometheus.md").read_text().splitlines()
    header = lines.index("| metric | type | labels | value |")
    table = lines[header + 2 : lines.index("", header)]
    assert table == [row(metric) for metric in METRICS]


def expressions() -> dict[str, str]:
    """Every expression of both files, by its place."""
    rules: Any = yaml.safe_load(ALERTS.read_text())
    board: Any = json.loads(DASHBOARD.read_text())
    alerts = {rule["alert"]: rule["expr"] for group in rules["groups"] for rule in group["rules"]}
    panels = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in board["panels"]
        for target in panel["targets"]
    }
    return alerts | panels


@pytest.mark.parametrize("place", expressions())
def test_an_expression_names_metrics_and_labels_that_exist(place: str) -> None:
    expression = expressions()[place]
    named = re.findall(r"perdure_\w+", expression)
    assert named
    assert set(named) <= SERIES.keys(), expression
    for name, selector in re.findall(r"(perdure_\w+)\{([^}]*)\}", expression):
        labels = set(re.findall(r"(\w+)\s*=~?", selector))
        assert labels <= {*SERIES[name].labels} | OF_EVERY_TARGET, expression
    known = OF_EVERY_TARGET.union(*(SERIES[name].labels for name in named))
    for grouped in re.findall(r"\bby \(([^)]*)\)", expression):
        assert {label.strip() for label in grouped.split(",")} <= known, expression


def test_the_dashboard_shows_every_metric() -> None:
    shown = set(re.findall(r"perdure_\w+", " ".join(expressions().values()) + DASHBOARD.read_text()))
    unseen = [
        metric.name for name, metric in SERIES.items() if name not in shown and f"{metric.name}_bucket" not in shown
    ]
    assert sorted({name for name in unseen if name not in NOT_SHOWN}) == []


NOT_SHOWN = {"perdure_counts_complete", "perdure_store_cache_limit_bytes"}


def test_prometheus_accepts_the_alert_rules() -> None:
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("PROMTOOL IS MISSING: the alert rules were not checked; apt-get install prometheus")
    checked = subprocess.run([promtool, "check", "rules", str(ALERTS)], capture_output=True, text=True, check=False)  # noqa: S603
    assert checked.returncode == 0, checked.stderr
