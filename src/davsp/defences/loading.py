"""Defences by name: made from options, or read from the folder in which they were saved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from davsp.errors import InputError
from davsp.models.shipped import SHIPPED
from davsp.util.own_classes import divided, import_class
from davsp.util.registry import Registry

if TYPE_CHECKING:
    from davsp.defences.base import Defence

DEFENCES: Registry[type[Defence]] = Registry("davsp.defences", "defence")
"""By their kind."""
GATE, ALARM = "gate", "alarm"
"""The folders of a saved defence that hold a gate before it, and an alarm behind it."""
UNNAMED_KIND = "visual-safety-prompt"
"""What a saved folder holds that names no kind: such were the first that were saved."""


def load_defence(name: str | Path, *, alone: bool = False) -> Defence:
    """The defence in a folder that `davsp train` or `davsp fit` wrote, or the one of that name. A gate that is saved in
    the folder's own folder `gate` stands before it, an alarm in `alarm` behind it, unless it is to be `alone`.

    A name may bring options, "eta:reward=my/model,clip_threshold=0.2". Raises InputError for an unknown name or a bad
    option, ArtefactError for a damaged folder, ModelError when a helper model cannot be loaded. The name of a testbed
    model is that of the defence that comes with it, where one does.

    "module:Class" is a class of the user's own, "module:Class:text=Take care." with options; InputError is raised where
    it is no defence.
    """
    if not str(name):
        raise InputError(f"a defence needs a name: give a saved folder, or one of {_names()}.")
    kind, _, options = str(name).partition(":")
    if not (options and kind in DEFENCES) and Path(name).is_dir():
        return _load_saved(Path(name), alone)
    if kind in SHIPPED and not options:
        return _load_saved(SHIPPED[kind].defence, alone)
    own = None if kind in DEFENCES else divided(str(name))
    if own:
        kind, options = own
    elif kind not in DEFENCES:
        raise InputError(
            f"there is no defence {str(name)!r}: give a folder that `davsp train` or `davsp fit` wrote, one of "
            f"{_names()}, or a class of your own, module:Class."
        )
    defence = _own_class(kind) if own else DEFENCES.get(kind)
    try:
        return _make(defence, [option for option in options.split(",") if option])
    except InputError as error:
        raise InputError(f"defence {kind}: {error}") from error


def fitted_kind(name: str) -> type[Defence]:
    """The class of a defence that is fitted to a model. Raises InputError for another, naming those that are."""
    from davsp.defences.base import NoOptions

    if name in DEFENCES and (defence := DEFENCES.get(name)).FitOptions is not NoOptions:
        return defence
    fitted = [kind for kind in DEFENCES.names() if DEFENCES.get(kind).FitOptions is not NoOptions]
    raise InputError(f"{name!r} is no defence that is fitted to a model. Choose from {', '.join(fitted)}.")


def check_served(defence: Defence) -> None:
    """Raise InputError for a defence that needs more of a model than one on a server offers."""
    if defence.begins_answers:
        raise InputError(
            f"{defence.name} needs a model that goes on from a begun answer, and servers begin a new one. Load the "
            "model itself, or leave this defence out."
        )
    if defence.reads_states:
        raise InputError(
            f"{defence.name} reads the model's hidden states, which servers keep. Load the model itself, or leave this "
            "defence out."
        )
    if defence.inner:
        check_served(defence.inner)


def _own_class(name: str) -> type[Defence]:
    """The class of a user's own that "module:Class" names. Raises InputError for one that cannot be used so."""
    from davsp.defences.base import Defence

    defence: type[Defence] = import_class(name, "defence", Defence)
    if not getattr(defence, "kind", ""):
        raise InputError(f'the defence {name!r} has no kind: give the class one, kind = "my-defence".')
    return defence


def _make(defence: type[Defence], assignments: Sequence[str]) -> Defence:
    from davsp.util.options import read_options

    if assignments and not defence.Options.model_fields:
        raise InputError(f"it has no options: leave out {','.join(assignments)!r}.")
    return defence.from_options(read_options(defence.Options, {}, assignments))


def _load_saved(folder: Path, alone: bool) -> Defence:
    from davsp.defences.stored import CONFIG, read_config

    named = read_config(folder).get("kind")
    kind = UNNAMED_KIND if named is None else str(named)
    if kind not in DEFENCES:
        raise InputError(
            f"{folder} holds a defence of an unknown kind, {kind!r}: upgrade with `pip install -U davsp`, or install "
            "the package that brings it."
        )
    defence = DEFENCES.get(kind).load(folder)
    if alone:
        return defence
    name = defence.name
    if (folder / ALARM / CONFIG).is_file():
        from davsp.defences.alarm import Alarm

        defence = Alarm.behind(defence, folder / ALARM, name)
    if (folder / GATE / CONFIG).is_file():
        from davsp.defences.gate import Gate

        defence = Gate.load(folder / GATE).before(defence, name)
    return defence


def _names() -> str:
    return ", ".join(DEFENCES.names())
