"""Which code a run depends on, as a hash: a changed compressor retrains only the runs that use it.

The fingerprint covers the engine, the run's own plug-ins, everything these import from this package
(found by reading their source), and the versions of the numerical libraries. Comments, docstrings and the
names under which plug-ins appear in figures and reports do not count.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from fewbits import registry
from fewbits.files import canonical
from fewbits.studies.runs import PLUGINS, kind_of

# What every run goes through; the rest follows from their imports.
ENTRIES = ("fewbits.federation.assemble", "fewbits.federation.engine", "fewbits.federation.outcome")
TRAINING = ("numpy", "scipy", "torch", "scikit-learn")
ANALYSIS = ("numpy", "pandas", "scipy", "matplotlib", "typst")
NAMES = ("label", "title", "cite")  # class variables of plug-ins that only analyses read


def of_run(spec: dict) -> str:
    """Twelve hex digits for the code and libraries behind a run (any dict of plug-ins by key)."""
    named = [(kind_of(key), name) for key in PLUGINS for name in _names(spec.get(key))]
    named += [("term", name) for name in (spec.get("local") or {}).get("terms", ())]
    own = [registry.find(kind, name).__module__ for kind, name in named]
    return of_modules(*ENTRIES, *own)


def of_operators(blocks: Iterable[dict]) -> str:
    """Twelve hex digits for the code and libraries behind what `fewbits measure` finds of these compressors."""
    names = [name for block in blocks for name in _names(block)]
    return of_modules(
        "fewbits.measure", *[registry.find("compressor", n).__module__ for n in names]
    )


def _names(block: object) -> list[str]:
    """Names of the plug-in in a block and of those inside it: what is matched, what is rotated first."""
    if not isinstance(block, dict):
        return []
    own = [block["name"]] if "name" in block else []
    return own + [name for item in block.values() for name in _names(item)]


def of_analysis(*modules: str) -> str:
    """Twelve hex digits for code that reads results, and for the plug-ins' names that it prints."""
    return _short([of_modules(*modules, libraries=ANALYSIS), _shown()])


@functools.cache
def of_modules(*modules: str, libraries: tuple[str, ...] = TRAINING) -> str:
    """Twelve hex digits for these modules, all of the package that they import, and libraries' versions."""
    parts = [f"{name}={_read(name)[1]}" for name in sorted(_closure(modules))]
    return _short([*parts, *(f"{name}=={_version(name)}" for name in libraries)])


@functools.cache
def _version(library: str) -> str:
    return version(library)


def _short(parts: list[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


@functools.cache
def _shown() -> str:
    classes = [cls for kind in registry.KINDS for cls in registry.plugins(kind).values()]
    return canonical(
        [[cls.__qualname__, *(getattr(cls, n, None) for n in NAMES)] for cls in classes]
    )


def _closure(modules: tuple[str, ...]) -> set[str]:
    seen: set[str] = set()
    ahead = list(modules)
    while ahead:
        name = ahead.pop()
        if name not in seen:
            seen.add(name)
            ahead.extend(_read(name)[0])
    return seen


@functools.cache
def _read(module: str) -> tuple[frozenset[str], str]:
    """The modules of this package that a module imports, anywhere in it, and a hash of what it does."""
    tree = ast.parse(_source(module))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fewbits"):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                imported.add(whole if _is_module(whole) else node.module)
        elif isinstance(node, ast.Import):
            imported |= {a.name for a in node.names if a.name.startswith("fewbits")}
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [line for line in body if not _is_words(line)] or [ast.Pass()]
    return frozenset(imported), hashlib.sha256(ast.unparse(tree).encode()).hexdigest()


def _source(module: str) -> str:
    return Path(find_spec(module).origin).read_text(encoding="utf-8")


def _is_words(node: ast.AST) -> bool:
    """A docstring, or a name that is only for people."""
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id in NAMES and ast.unparse(node.annotation).startswith("ClassVar")
    return isinstance(node, ast.Expr) and isinstance(getattr(node.value, "value", None), str)


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False
