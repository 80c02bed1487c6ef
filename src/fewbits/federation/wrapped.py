"""Slots with a few of their methods replaced, and everything else their own."""

from __future__ import annotations

from typing import Any

from fewbits.federation.local.base import Local


class Wrapped:
    """Of anything: what a subclass does not have is that of `inner`."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str):
        return getattr(self.inner, name)


class WrappedLocal(Wrapped, Local):
    """Of a local solver, whose methods would else be those of `Local`."""

    def __init__(self, inner: Local) -> None:
        super().__init__(inner)
        self.exact = inner.exact

    def initial(self, x, clients, statistics=None):
        return self.inner.initial(x, clients, statistics)

    def work(self, sizes, round=1):
        return self.inner.work(sizes, round)

    def travel(self, sizes, round):
        return self.inner.travel(sizes, round)
