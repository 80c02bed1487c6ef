"""Modules that load when first used.

Reading and checking a study must be quick (Snakemake parses it on every call), and checking needs the
plug-in classes. They name torch, whose import takes over a second, so they take it from here:

    from fewbits.lazy import torch
"""

from __future__ import annotations

import importlib


class _LazyModule:
    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str):
        value = getattr(importlib.import_module(self._name), attribute)
        setattr(self, attribute, value)  # the next access is an ordinary one
        return value


torch = _LazyModule("torch")
