"""A prepared view of a study's runs: MLflow's pages open with our columns and with curves against
bits.

MLflow keeps a shared view as a tag of the experiment, `mlflow.sharedViewState.<key>`, and shows it
for `?viewStateShareKey=<key>` in the address. The content is the state of its page, as seen in
MLflow 3.17; a later MLflow that does not know it shows its own view instead.
"""

from __future__ import annotations

import base64
import json
import zlib

KEY = "fewbits"
TAG = f"mlflow.sharedViewState.{KEY}"
COLUMNS = (
    "params.`algorithm`",
    "params.`compressor`",
    "params.`compressor.k`",
    "params.`step.factor`",
    "params.`seed`",
    "metrics.`final/log10_grad_sq`",
    "metrics.`final/bits_up`",
    "tags.`status`",
)
SECTIONS = {  # title: (metric, scale of the vertical axis); MLflow labels small numbers on a log axis with 0
    "Against bits sent by a client": (
        ("by_bits/log10_grad_sq", "linear"),
        ("by_bits/loss", "linear"),
    ),
    "Against rounds": (("grad_sq", "log"), ("loss", "linear")),
}
X_AXIS = {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""}


def experiment_tags() -> dict[str, str]:
    """Tags for a new experiment: its kind (else the pages ask), what by_bits means, and the view."""
    packed = base64.b64encode(zlib.compress(json.dumps(_state()).encode(), 9)).decode()
    return {
        "mlflow.experimentKind": "custom_model_development",
        "mlflow.note.content": "One fewbits study. In `by_bits/...` a step is a bit sent by a client.",
        TAG: f"deflate;{packed}",
    }


def address(server: str, experiment: int | str) -> str:
    """Where the prepared view of an experiment is: the curves; the list button leads to the table."""
    query = f"viewStateShareKey={KEY}&compareRunsMode=CHART&workflowType=machine_learning"
    return f"{server}/#/experiments/{experiment}/runs?{query}"


def _state() -> dict:
    """The page's state: newest runs first, ten of them drawn."""
    return {
        "searchFilter": "",
        "orderByKey": "attributes.start_time",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": COLUMNS,
        "columnOrder": [],
        "columnWidths": {},
        "runsExpanded": {},
        "runsPinned": [],
        "runsHidden": [],
        "runsVisibilityMap": {},
        "runsHiddenMode": "FIRST_10_RUNS",
        "viewMaximized": False,
        "runListHidden": False,
        "isAccordionReordered": True,
        "useGroupedValuesInCharts": True,
        "hideEmptyCharts": True,
        "groupBy": None,
        "groupsExpanded": {},
        "autoRefreshEnabled": True,
        "globalLineChartConfig": X_AXIS,
        "compareRunSections": [_section(title) for title in SECTIONS],
        "compareRunCharts": [
            _chart(title, metric, scale)
            for title, charts in SECTIONS.items()
            for metric, scale in charts
        ],
    }


def _section(title: str) -> dict:
    shown = {"display": True, "isReordered": True, "deleted": False, "isGenerated": False}
    return {"uuid": f"{KEY}-{title}", "name": title, **shown}


def _chart(title: str, metric: str, scale: str) -> dict:
    return {
        "uuid": f"{KEY}-{metric}",
        "type": "LINE",
        "runsCountToCompare": 10,
        "metricSectionId": f"{KEY}-{title}",
        "deleted": False,
        "isGenerated": False,
        "metricKey": metric,
        "selectedMetricKeys": [metric],
        "xAxisScaleType": "linear",
        "scaleType": scale,
        "range": {},
        "yAxisKey": "metric",
        "yAxisExpressions": [],
        "ignoreOutliers": False,
        "useGlobalXaxisKey": False,
        "useGlobalLineSmoothing": True,
        **X_AXIS,
    }
