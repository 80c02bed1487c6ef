"""All benchmarks, or those named: `python -m benchmarks [engine ...]`. One thread."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy and torch are loaded


def main() -> None:
    known = sorted(p.stem for p in Path(__file__).parent.glob("[a-z]*.py"))
    wanted = sys.argv[1:] or known
    for name in wanted:
        if name not in known:
            sys.exit(f"benchmarks: found {name!r}; allowed: {', '.join(known)}")
        print(f"\n{name}", flush=True)
        import_module(f"benchmarks.{name}").main()


if __name__ == "__main__":
    main()
