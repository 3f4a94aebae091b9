"""Classes of a user's own, named as "module:Class" where something of ours could be named."""

from __future__ import annotations

import inspect
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from davsp.errors import InputError

_OWN = re.compile(r"([A-Za-z_][\w.]*:[A-Za-z_]\w*)(?::(.*))?", re.DOTALL)


def divided(text: str) -> tuple[str, str] | None:
    """The "module:Class" of "module:Class" or "module:Class:OPTIONS", and the options; None for any other text."""
    found = _OWN.fullmatch(text)
    return (found[1], found[2] or "") if found else None


def import_class(name: str, what: str, base: type) -> Any:
    """The class that "module:Class" names: importable, or in a file of the current folder.

    It is a `what` of davsp: a class derived from `base`, of which nothing is left abstract. Raises InputError, naming
    what is wrong, where it is not.
    """
    module, _, attribute = name.partition(":")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.append(here)
    try:
        loaded = getattr(import_module(module), attribute, None)
    except Exception as error:  # the code of others may raise anything
        where = f" There is no {module.partition('.')[0]}.py in {here}." if _is_absent(error, module) else ""
        raise InputError(f"the {what} {name!r} cannot be loaded: {type(error).__name__}: {error}.{where}") from error
    finally:
        if added and here in sys.path:
            sys.path.remove(here)
    if loaded is None:
        raise InputError(f"the {what} {name!r} cannot be loaded: {module} holds no {attribute!r}.")
    if not inspect.isclass(loaded) or not issubclass(loaded, base):
        raise InputError(
            f"{name!r} is no {what}: {loaded!r:.100} is no class derived from {base.__module__}.{base.__name__}."
        )
    if missing := sorted(getattr(loaded, "__abstractmethods__", ())):
        raise InputError(f"the {what} {name!r} cannot be made: it lacks {', '.join(missing)}.")
    return loaded


def _is_absent(error: Exception, module: str) -> bool:
    """Whether it is the module itself that there is not, and none that it imports."""
    return isinstance(error, ModuleNotFoundError) and error.name == module.partition(".")[0]
