"""Combinations of plug-ins that cannot run, found before anything does.

A plug-in takes part by what it declares: an algorithm's `sends` ("compressed", "dense" or "either"), a data set's
facts (_FACTS), and a method `check(self, ...)` of any plug-in, which gives None or says why not. Its
arguments are taken by name from these facts (features: None for a model that is not `linear`) and dataset, model,
partition, algorithm, compressor, selection, local, space, sending (the instances, None if absent).
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re

from fewbits import registry
from fewbits.algorithms.theory import NoStep, Theory, step_size
from fewbits.compressors.sizes import resolve
from fewbits.federation.objective import Smoothness
from fewbits.studies.choices import Choice
from fewbits.studies.errors import Problems, show

_KERNEL = (64, 32, 3, 3)
_ALONE = {"dense": "sends dense vectors", "own": "compresses by itself", "nothing": "sends nothing"}
_FACTS = ("rows", "features", "classes", "groups", "sequence")


def check_combination(point: dict[str, Choice], problems: Problems) -> None:
    """Note what is wrong with this combination of a data set, model, partition, algorithm and compressor."""
    _check_sending(point["algorithm"], point["compressor"], problems)
    _check_downlink(point["algorithm"], point["downlink"], problems)
    facts = _facts({key: choice.plugin for key, choice in point.items()})
    for key, choice in point.items():
        text = ask(choice.plugin, facts)
        if text:
            name, value = _blamed(choice, text)
            path = choice.parts.get(name, choice.path)
            allowed = _allowed(key, choice, name, facts)
            problems.add(path, f"found {show(value)} ({text}); allowed: {allowed}")


def _check_sending(algorithm: Choice, compressor: Choice, problems: Problems) -> None:
    sends, name = getattr(algorithm.plugin, "sends", None), algorithm.value["name"]
    if sends == "compressed" and compressor.value is None:
        text = "found nothing for an algorithm that sends compressed messages; allowed: "
        problems.add(compressor.path, text + ", ".join(registry.plugins("compressor")))
    if sends in _ALONE and compressor.value is not None:
        text = (
            f"found {show(compressor.value['name'])} for algorithm '{name}', which {_ALONE[sends]}"
        )
        others = f"no compressor (put '{name}' into a grid of its own)"
        problems.add(compressor.path, f"{text}; allowed: {others}")


def _check_downlink(algorithm: Choice, downlink: Choice, problems: Problems) -> None:
    if downlink.value is None or getattr(algorithm.plugin, "both_ways", False):
        return
    methods = [name for name, cls in registry.plugins("algorithm").items() if cls.both_ways]
    text = f"found {show(downlink.value['name'])} for algorithm '{algorithm.value['name']}', whose server sends whole models"
    problems.add(downlink.path, f"{text}; allowed: no downlink, or algorithms {', '.join(methods)}")


def check_spectra(point: dict[str, Choice], kept: Choice, problems: Problems) -> None:
    """Note spectra of representations that do not exist."""
    if "spectra" not in (kept.value.get("keep") or ()):
        return
    model, data = point["model"].plugin, registry.find("dataset", point["dataset"].value["name"])
    reason = "only networks have representations" if model.linear else None
    reason = reason or model.without_representations(data.sequence)
    if reason is None and not data.test_rows:
        reason = f"'{data.name}' has no test rows"
    if reason:
        problems.add((*kept.path, "keep"), f"found spectra ({reason}); allowed: updates")


def check_theory(point: dict[str, Choice], step: Choice, problems: Problems) -> None:
    """Note a step that theory does not give for this method with these slots."""
    if "rule" not in step.value:
        return
    rule, features = step.value["rule"], getattr(point["dataset"].plugin, "features", None)
    if features is None and point["model"].plugin.linear:
        return
    try:
        step_size(point["algorithm"].plugin, rule, _theory(point, features))
    except NoStep as error:
        named = [
            f"{key} '{point[key].value['name']}'"
            for key in (
                "model",
                "algorithm",
                "compressor",
                "downlink",
                "selection",
                "local",
                "sending",
                "server",
                "aggregation",
            )
            if point[key].value
        ]
        text = f"found rule {show(rule)} with {', '.join(named)} ({error.reason})"
        problems.add(step.path, f"{text}; allowed: {error.remedy}")


def _theory(point: dict[str, Choice], features: int | None) -> Theory:
    """What is known of a step before the data are read; the smoothness' value does not matter."""
    if not point["model"].plugin.linear:
        return Theory(None, 1, None, None)
    shape, partition = (features,), point["partition"].plugin
    clients = getattr(partition, "clients", None) or 2
    up, down = (
        resolve(point[key].value or {"name": "identity"}, shape)
        for key in ("compressor", "downlink")
    )
    selection, local = point["selection"].plugin, point["local"].plugin
    return Theory(
        smoothness=Smoothness(1.0, (1.0,)),
        clients=clients,
        alpha=up.contraction(shape),
        omega=up.variance(shape),
        alpha_down=down.contraction(shape),
        share=1.0 if selection is None else selection.share(clients),
        exact=local is None or local.exact,
        plain=point["server"].plugin is None and point["aggregation"].plugin is None,
        whole=getattr(point["sending"].plugin, "whole", True),
        instead=up.instead,
    )


def check_doubts(point: dict[str, Choice], problems: Problems) -> None:
    """Note combinations that run but may not converge. Of a network, whose layers are not known yet, by a kernel."""
    algorithm, compressor = point["algorithm"].plugin, point["compressor"]
    if compressor.plugin is None:
        return
    features = getattr(point["dataset"].plugin, "features", None)
    known = point["model"].plugin.linear and features is not None
    shape = (features,) if known else _KERNEL
    made = resolve(compressor.value, shape)
    text = algorithm.doubt(made, made.contraction(shape))
    if text:
        problems.doubt(compressor.parts.get("name", compressor.path), f"found {text}")


def _facts(plugins: dict[str, object]) -> dict[str, object]:
    facts = {name: getattr(plugins["dataset"], name, None) for name in _FACTS}
    if not plugins["model"].linear:  # the update has as many numbers as the network, not as a row
        facts["features"] = None
    return {**plugins, **facts}


def ask(plugin: object, facts: dict[str, object]) -> str | None:
    """Why a plug-in cannot be used with these facts, of which it is given those that its `check` names; None: it can."""
    names = _arguments(type(plugin))
    return None if names is None else plugin.check(**{name: facts[name] for name in names})


@functools.cache
def _arguments(cls: type) -> list[str] | None:
    """Names of the arguments of the class's `check`, None if it has none."""
    check = getattr(cls, "check", None)
    return None if check is None else list(inspect.signature(check).parameters)[1:]


def _blamed(choice: Choice, text: str) -> tuple[str, object]:
    """The parameter that the reason speaks of, else the plug-in's name."""
    for name, value in choice.value.items():
        if name != "name" and re.search(rf"\b{re.escape(name)}\b", text):
            return name, value
    return "name", choice.value["name"]


def _allowed(key: str, choice: Choice, name: str, facts: dict[str, object]) -> str:
    """What would pass: the largest smaller value of a number, or the data sets it would do for."""
    value = getattr(choice.plugin, name, None)
    if name != "name" and type(value) is int:
        low, high = 0, value  # `low` passes (once it has moved), `high` does not
        while high - low > 1:
            middle = (low + high) // 2
            passes = ask(dataclasses.replace(choice.plugin, **{name: middle}), facts) is None
            low, high = (middle, high) if passes else (low, middle)
        if low:
            return f"at most {low} for this data set"
    good = []
    for dataset, cls in registry.plugins("dataset").items():
        other = {**facts, "dataset": cls, **{fact: getattr(cls, fact, None) for fact in _FACTS}}
        if key != "dataset" and ask(choice.plugin, other) is None:
            good.append(dataset)
    return f"data sets {', '.join(good)}" if good else "another combination"
