"""Where and with what something was run: versions, machine, commit."""

from __future__ import annotations

import functools
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version

PACKAGES = (
    "fewbits", "torch", "numpy", "scipy", "pandas", "scikit-learn",
    "tensorly", "snakemake", "mlflow", "matplotlib", "seaborn", "typst",
)  # fmt: skip


@functools.cache
def describe() -> dict[str, str]:
    """Flat facts: git commit, Python, package versions, machine."""
    facts = {"git_commit": commit(), "python": platform.python_version(), "machine": machine()}
    return facts | {name: package_version(name) for name in PACKAGES}


def package_version(name: str) -> str:
    """Installed version, or "not installed"."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def machine() -> str:
    """System, architecture and processor model, without the host's name."""
    return f"{platform.system()} {platform.machine()}, {_processor()}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            models = [
                line.partition(":")[2].strip() for line in lines if line.startswith("model name")
            ]
    except OSError:
        models = []
    return f"{models[0]} x {len(models)}" if models else platform.processor() or "unknown processor"


def commit() -> str:
    """Commit of the working folder, with "+changes" where files differ from it; "unknown" outside git."""
    head = _git("rev-parse", "HEAD")
    if head is None:
        return "unknown"
    return head + ("+changes" if _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
