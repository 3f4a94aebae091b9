"""The processes of `davsp serve`: one, or several that share a socket."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import uvicorn
from uvicorn.supervisors.multiprocess import Multiprocess

from davsp.errors import InputError
from davsp.serving.app import create_app
from davsp.serving.logs import logging_config
from davsp.serving.service import Service
from davsp.serving.settings import ServeSettings

_SHARED_METRICS = "PROMETHEUS_MULTIPROC_DIR"
"""By this prometheus-client knows that several processes count together: the workers, which import it anew."""

STARTING_SECONDS = 60
"""A worker that does not answer for so long is started anew. It takes seconds to import what it needs, more on a slow
disk."""


class Workers(Multiprocess):
    """uvicorn's processes; SIGHUP is theirs to handle, each of which reloads its defence."""

    def handle_hup(self) -> None:
        for process in self.processes:
            if process.pid is not None and process.process.is_alive():
                os.kill(process.pid, signal.SIGHUP)


def listen(host: str, port: int) -> socket.socket:
    """A socket to serve at. Raises InputError where that cannot be."""
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048
        )
    except (OSError, OverflowError) as error:
        raise InputError(f"cannot serve at {host}:{port}: {error}. Choose another --host or --port.") from error


def run(
    service: Callable[[ServeSettings], Service],
    settings: ServeSettings,
    at: socket.socket,
    workers: int,
    drain_seconds: int,
) -> None:
    """Serve what `service` makes of the settings, until SIGTERM or Ctrl-C; what is in work has `drain_seconds` then."""
    with tempfile.TemporaryDirectory(prefix="davsp-metrics-") as folder:
        if workers > 1:
            os.environ[_SHARED_METRICS] = folder
            settings = replace(settings, metrics_folder=folder)
        config = uvicorn.Config(
            partial(create_app, partial(service, settings)),
            factory=True,
            workers=workers,
            log_config=logging_config("INFO"),
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            ws="none",
            lifespan="on",
            timeout_graceful_shutdown=drain_seconds,
            timeout_worker_healthcheck=STARTING_SECONDS,
        )
        if workers > 1:
            Workers(config, [at]).run()
        else:
            uvicorn.Server(config).run([at])
