"""Coroutines run to their end, whether or not an event loop runs in the calling thread."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import threading
from typing import Any

import pytest

from davsp.util.async_running import run_coroutine


async def _add(one: int, other: int) -> int:
    await asyncio.sleep(0)
    return one + other


async def _fail() -> None:
    await asyncio.sleep(0)
    raise ValueError("as it must")


def _inside_a_loop(work: Any) -> Any:
    """What the work gives when it is called as a notebook's cell calls it: from code that a loop runs."""

    async def cell() -> Any:
        return work()

    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(cell())
    finally:
        loop.close()


@pytest.mark.parametrize("place", [lambda work: work(), _inside_a_loop])
def test_a_coroutine_returns_and_raises_with_and_without_a_running_loop(place: Any) -> None:
    assert place(lambda: run_coroutine(_add(1, 2))) == 3
    with pytest.raises(ValueError, match="as it must") as raised:
        place(lambda: run_coroutine(_fail()))
    assert raised.value.__context__ is None, "what it raises has no cause but its own"


def test_beside_a_running_loop_it_has_a_thread_of_its_own_and_the_callers_context() -> None:
    variable = contextvars.ContextVar("variable", default="none")

    async def where() -> tuple[int, str]:
        return threading.get_ident(), variable.get()

    def cell() -> tuple[int, str]:
        variable.set("the caller's")
        return run_coroutine(where())

    thread, value = _inside_a_loop(cell)
    assert thread != threading.get_ident()
    assert value == "the caller's"


@pytest.mark.parametrize("place", [lambda work: work(), _inside_a_loop])
def test_ctrl_c_cancels_it_and_waits_until_it_has_tidied_up(place: Any) -> None:
    events: list[str] = []

    async def long() -> None:
        try:
            main = threading.main_thread().ident
            threading.Timer(0.2, signal.pthread_kill, [main, signal.SIGINT]).start()
            await asyncio.sleep(20)
        except asyncio.CancelledError:
            await asyncio.sleep(0.05)
            events.append("tidied up")
            raise

    with pytest.raises(KeyboardInterrupt):
        place(lambda: run_coroutine(long()))
    assert events == ["tidied up"]
