"""Models behind a server with an OpenAI-compatible API, and all others that Inspect knows, by their names."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from davsp.errors import InputError
from davsp.util.failures import in_one_line

if TYPE_CHECKING:
    from inspect_ai.model import GenerateConfig, Model

KEY = "DAVSP_API_KEY"
"""The environment variable with the key for servers that are given by their address."""
PROVIDER = "davsp-server"
"""Inspect's name for davsp.models.openai_server."""
_URLS = ("http://", "https://")
_BY_SERVICE = "openai-api/"


def is_served(name: str) -> bool:
    """Whether the name of a model is that of one on a server: URL=NAME, or openai-api/SERVICE/NAME."""
    return name.startswith((*_URLS, _BY_SERVICE))


def inspect_model(name: str, config: GenerateConfig | None = None, **arguments: Any) -> Model:
    """An Inspect model by its name, or by URL=NAME: the address of an OpenAI-compatible API, such as
    http://127.0.0.1:8000/v1, and the name that the model has there. `arguments` are the provider's own.

    Raises InputError for an address where no such API answers, and where the model cannot be had.
    """
    from inspect_ai.model import GenerateConfig, get_model

    arguments["config"] = config or GenerateConfig()
    try:
        if name.startswith(_BY_SERVICE):
            return get_model(f"{PROVIDER}/{name.removeprefix(_BY_SERVICE)}", **arguments)
        if not name.startswith(_URLS):
            return get_model(name, **arguments)
        url, _, served = name.partition("=")
        if not served:
            raise InputError(f"{name}: which model is it? Write URL=NAME, such as http://127.0.0.1:8000/v1=my-model.")
        _check_reachable(url)
        key = os.environ.get(KEY, "none")
        return get_model(f"{PROVIDER}/davsp/{served}", base_url=url, api_key=key, **arguments)
    except InputError:
        raise
    except Exception as error:  # a provider may raise anything: a package or a key is missing, the name is unknown
        hint = " (For servers: pip install 'davsp[endpoints]'.)" if is_served(name) else ""
        raise InputError(f"the model {name!r} cannot be used: {in_one_line(error)}{hint}") from error


def _check_reachable(url: str) -> None:
    """Raise InputError unless a server answers there; and where it says that its API is at /v1."""
    status = _status(url)
    if status == 404 and not url.rstrip("/").endswith("/v1"):
        try:
            better = _status(f"{url.rstrip('/')}/v1")
        except InputError:
            return
        if better == 200:
            raise InputError(f"{url} is not the address of the API: it is at {url.rstrip('/')}/v1. Use that.")


def _status(url: str) -> int:
    """The HTTP status of the list of models."""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/models", timeout=10) as reply:  # noqa: S310 - http(s) alone
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, ValueError) as error:
        raise InputError(f"no server answers at {url}: {error}. Is it running, and is that its address?") from error
