"""Models behind a server with an OpenAI-compatible API."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from davsp.errors import DavspError, InputError, ModelError

if TYPE_CHECKING:
    from inspect_ai.model import Model

T = TypeVar("T")

RETRIES = 5
"""How often a query is tried again that a server failed (429, 5xx, no connection), after 3, 6, 12 ... seconds."""
TIMEOUT = 1800
"""Seconds after which a query is not tried again."""
GIVE_UP = 3
"""So many queries in a row that a server failed, with all their retries, and it counts as gone."""
KEY = "DAVSP_API_KEY"
"""The environment variable with the key for servers that are given by their address."""
_URLS = ("http://", "https://")
_OF_THE_QUERY = (400, 413, 422)
"""HTTP statuses by which a server refuses one query, and says nothing of the next."""


def is_served(name: str) -> bool:
    """Whether the name of a model is that of one on a server: URL=NAME, or openai-api/SERVICE/NAME."""
    return name.startswith((*_URLS, "openai-api/"))


def inspect_model(name: str, connections: int) -> Model:
    """An Inspect model by its name, or by URL=NAME: the address of an OpenAI-compatible API, such as
    http://127.0.0.1:8000/v1, and the name that the model has there. So many queries are sent at a time.

    Raises InputError for an address where nothing answers, and where the model cannot be had.
    """
    from inspect_ai.model import GenerateConfig, get_model

    from davsp.judges.model_calls import in_one_line

    config = GenerateConfig(max_connections=connections, max_retries=RETRIES, timeout=TIMEOUT)
    try:
        if not name.startswith(_URLS):
            return get_model(name, config=config)
        url, _, served = name.partition("=")
        if not served:
            raise InputError(f"{name}: which model is it? Write URL=NAME, such as http://127.0.0.1:8000/v1=my-model.")
        _check_reachable(url)
        key = os.environ.get(KEY, "none")
        return get_model(f"openai-api/davsp/{served}", base_url=url, api_key=key, config=config)
    except InputError:
        raise
    except Exception as error:  # a provider may raise anything: a package or a key is missing, the name is unknown
        raise InputError(
            f"the model {name!r} cannot be used: {in_one_line(error)} (For servers: pip install 'davsp[endpoints]'.)"
        ) from error


def _check_reachable(url: str) -> None:
    """Raise InputError unless a server answers there, with whatever it may be."""
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/models", timeout=10):  # noqa: S310 - http or https alone
            pass
    except urllib.error.HTTPError:
        pass
    except (OSError, ValueError) as error:
        raise InputError(f"no server answers at {url}: {error}. Is it running, and is that its address?") from error


@dataclass
class ServerConnection:
    """What is known of the way to a server. Once GIVE_UP queries in a row have failed for want of it, it is lost for
    good, and nothing more is sent."""

    consecutive_failures: int = 0
    lost: bool = False
    last_failure: str = ""

    async def send(self, call: Callable[[], Awaitable[T]]) -> T:
        """What the call gives. Raises ModelError when it fails, and for every call after the server is lost."""
        from inspect_ai.util import LimitExceededError

        from davsp.judges.model_calls import cause_of, first_line

        if self.lost:
            raise ModelError(f"not sent: the server was lost ({self.last_failure})")
        try:
            response = await call()
        except (LimitExceededError, DavspError):
            raise
        except Exception as error:
            cause = cause_of(error)
            if getattr(cause, "status_code", None) not in _OF_THE_QUERY:
                self.consecutive_failures += 1
                self.lost = self.lost or self.consecutive_failures >= GIVE_UP
                self.last_failure = first_line(cause)
            raise ModelError(f"the server failed: {first_line(cause)}") from error
        self.consecutive_failures = 0
        return response
