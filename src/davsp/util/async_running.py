"""Running a coroutine to its end from plain code, in a script as in a notebook."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")


def run_coroutine(coroutine: Coroutine[Any, Any, T]) -> T:
    """What the coroutine returns; raises what it raises. The caller waits for it, as with `asyncio.run`.

    Where an event loop already runs in this thread, as in a notebook's cells, the coroutine has a thread and a loop of
    its own. Ctrl-C cancels it there as well, and is raised once it has ended.
    """
    if not _in_a_loop():
        return _run(coroutine)
    started = Future[asyncio.Task[Any]]()

    async def announced() -> T:
        task = asyncio.current_task()
        assert task is not None
        started.set_result(task)
        return await coroutine

    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="davsp-coroutine") as thread:
        ended = thread.submit(contextvars.copy_context().run, _run, announced())
        try:
            return ended.result()
        except KeyboardInterrupt:
            task = started.result()
            with suppress(RuntimeError):  # it has ended meanwhile, and its loop is closed
                task.get_loop().call_soon_threadsafe(task.cancel)
            raise


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    # As asyncio.run, which packages replace that let event loops nest in notebooks.
    with asyncio.Runner() as runner:
        return runner.run(coroutine)
