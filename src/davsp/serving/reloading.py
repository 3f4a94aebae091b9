"""Another defence in place of the one that is served, when its folder changes or on SIGHUP: whole, or not at all."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from davsp.serving.hardening import Hardener, load_served
from davsp.util.failures import first_line

SECONDS = 1.0
"""Between two looks at the folder."""
Signature = tuple[tuple[str, int, int], ...]

log = logging.getLogger(__name__)


def signature(folder: Path) -> Signature:
    """What tells that files of a folder were written since: their names, times and sizes."""
    found = []
    try:
        paths = sorted(folder.rglob("*"))
    except OSError:  # a folder in it is being replaced: it is looked at again soon
        return ()
    for path in paths:
        try:
            status = path.stat()
        except OSError:  # it is being replaced
            continue
        found.append((str(path), status.st_mtime_ns, status.st_size))
    return tuple(found)


class Reloader:
    """Holds the defence that requests are put behind. A request has the one that it began with."""

    def __init__(self, hardener: Hardener, counted: Callable[[bool], None]) -> None:
        self.hardener, self._counted = hardener, counted
        self._folder = Path(hardener.settings.defence)
        self._lock = asyncio.Lock()

    async def reload(self) -> bool:
        """Load the defence anew. One that cannot be loaded leaves the old one in place. Says whether it was loaded."""
        async with self._lock:
            old = self.hardener
            try:
                defence = await asyncio.to_thread(load_served, old.settings)
            except Exception as error:  # whatever is wrong with it, the old one goes on
                self._counted(False)
                log.error("reload_failed", extra={"fields": {"why": first_line(error), "kept": old.defence.name}})
                return False
            self.hardener = Hardener(defence, old.settings, old.cache)
            self._counted(True)
            changed = self.hardener.identity != old.identity
            log.info("reloaded", extra={"fields": {"defence": defence.name, "changed": changed}})
            return True

    async def watch(self) -> None:
        """Reload whenever the folder has changed; for ever. A defence by its name has no folder."""
        seen = signature(self._folder)
        while True:
            await asyncio.sleep(SECONDS)
            found = await asyncio.to_thread(signature, self._folder)
            if found != seen:
                seen = found
                await self.reload()
