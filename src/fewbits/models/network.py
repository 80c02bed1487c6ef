"""Neural networks for classification, trained as one flat vector of numbers."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from fewbits.datasets.base import Arrays, Dataset
from fewbits.models import nets
from fewbits.registry import plugin

MESSAGES = 3e-3  # seconds: about what compressing all clients' updates takes in a round


@plugin
class Network:
    """f_i = mean cross-entropy of a network (models/nets) on client i's rows.

    net: its name; parameters: what its function takes beside shape and classes, e.g. {hidden: [128]}.
    weight_decay: adds weight_decay/2 |x|^2 to every f_i. test_rows: record test numbers on so many of the test rows,
    drawn once for all runs; absent: on all, which for McMahan's CNN on MNIST takes half a round of 10 clients. train_metrics: record f and its squared gradient norm over
    all training rows, which costs a pass over them; else only test numbers. client_metrics: record the
    accuracy on the clients' own rows, mean and that of the worst tenth of them. client_tests: record the accuracy on
    each client's own share of the test part (objectives/own_tests.py), of the model that it uses: mean, worst tenth, variance.
    precision: of all numbers.
    """

    name: ClassVar[str] = "network"
    linear: ClassVar[bool] = False

    net: Annotated[str, Field(min_length=1)]
    parameters: dict[str, Any] = Field(default_factory=dict)
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    test_rows: Annotated[int, Field(ge=1)] | None = None
    train_metrics: bool = True
    client_metrics: bool = False
    client_tests: bool = False
    precision: Literal["float32", "float64"] = "float32"

    def check(self, dataset: Any = None) -> str | None:
        """Why this network cannot be used on the data set, or None."""
        if self.client_tests and (
            getattr(dataset, "sequence", False) or getattr(dataset, "test_rows", 1) == 0
        ):
            return "client_tests needs a test part with one class a row"
        if self.client_tests and self.parameters.get("norm") == "batch":
            return "client_tests does not look at running statistics, so norm: batch does not fit"
        shape = getattr(dataset, "shape", None)
        return None if shape is None else nets.check(self.net, shape, **self.parameters)

    def without_representations(self, sequence: bool) -> str | None:
        """Why a row has no representation that training changes, which terms of the local objective need, or None."""
        if sequence:
            return "rows that are sequences have no one representation"
        shallow = self.net == "logistic" or self.parameters.get("hidden", True) in ([], ())
        if shallow and not self.parameters.get("projection"):
            return "without a hidden layer a row is its own representation"
        return None

    def seconds(self, spec: dict, dataset: type, lanes: int) -> float:
        """About how long a round of so many runs like `spec` takes together, for the planner."""
        local, selection = spec.get("local") or {}, spec.get("selection") or {}
        clients = spec["partition"].get("clients", 1) * selection.get("fraction", 1.0)
        rows = dataset.rows * selection.get("fraction", 1.0)
        if local.get("batch") and not local.get("epochs"):
            rows = clients * local["batch"] * (local.get("steps") or 1)
        work = rows * (local.get("epochs") or 1) * nets.NETS[self.net].seconds
        if self.train_metrics:
            work += dataset.rows * nets.NETS[self.net].seconds / spec["record_every"]
        return lanes * (work + MESSAGES)

    def objective(self, data: Arrays, parts: list[np.ndarray], source: type[Dataset]):
        """data: rows as of datasets/base.py; parts: row numbers of each client; source: facts of the data set."""
        from fewbits.models.objectives import objective

        return objective(self, data, parts, source)
