"""MLflow's pages, on this machine only."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from fewbits.tracking import view
from fewbits.tracking.base import StoreError, shown
from fewbits.tracking.sqlite import connection
from fewbits.tracking.store import relocate, require, resolve_uri, sqlite_path

HOST = "127.0.0.1"


def ui(results: Path, port: int = 5000, uri: str | None = None) -> None:
    """Become the MLflow server (the process is replaced). Raises StoreError: no store, or the port
    is taken.
    """
    command, environment = ui_command(results, port, uri)
    _require_free(port)
    for line in _addresses(f"http://{HOST}:{port}", sqlite_path(resolve_uri(results, uri))):
        print(line, flush=True)
    os.execve(command[0], command, environment)


def ui_command(
    results: Path, port: int = 5000, uri: str | None = None
) -> tuple[list[str], dict[str, str]]:
    """The server's command line and environment: loopback, one worker, no job runners (2 processes,
    not 10).

    The store's URI, which may hold a password, goes by the environment. Raises StoreError where
    there is no store.
    """
    uri = resolve_uri(results, uri)
    if uri.startswith("http"):
        raise StoreError(f"the tracking store is a server: open {shown(uri)} in a browser")
    artifacts = Path(results).resolve() / "tracking" / "artifacts"
    path = sqlite_path(uri)
    if path is not None:
        require(path)
        relocate(path, artifacts)
    server = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port)]
    server += ["--workers", "1", "--artifacts-destination", str(artifacts)]
    settings = {
        "MLFLOW_BACKEND_STORE_URI": uri,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    kept = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    return server, {**kept, **settings}


def _addresses(server: str, path: Path | None) -> list[str]:
    """What to open: the server, and the prepared view of each study where they can be listed cheaply."""
    lines = [f"MLflow: {server}  (Ctrl-C ends it)"]
    if path is not None:
        query = (
            "SELECT name, experiment_id FROM experiments JOIN experiment_tags USING (experiment_id)"
        )
        with connection(path) as db:
            studies = db.execute(f"{query} WHERE key = ? ORDER BY name", (view.TAG,)).fetchall()
        lines += [f"  {name}: {view.address(server, number)}" for name, number in studies]
    return lines


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            raise StoreError(f"port {port} is taken; choose another") from None
