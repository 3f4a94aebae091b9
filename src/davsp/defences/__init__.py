"""Other defences to compare with, written from their methods' descriptions (docs/baselines.md).

Some rewrite a query, as a visual safety prompt does; some answer it themselves, asking the model several times. One
function loads any of them, and visual safety prompts too.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from davsp.errors import InputError

if TYPE_CHECKING:
    from davsp.defences.base import AnyDefence
    from davsp.models.base import VisionLanguageModel

FIXED = ("none", "prefix", "adashield-s", "ecso", "eta")
"""Defences known by name. Those with options take them after a colon: eta:reward=FOLDER,clip=FOLDER."""
FITTED = ("adashield-a", "pat", "uniguard", "esiii")
"""Defences that `davsp fit` makes, by their kind."""


def load_defence(name: str | Path) -> AnyDefence:
    """The defence in a folder (a visual safety prompt, or a fitted baseline), or the fixed one of that name.

    A name may bring options, "eta:reward=my/model,clip_threshold=0.2". Raises InputError for an unknown name or a bad
    option, ArtefactError for a damaged folder, ModelError when a helper model cannot be loaded.
    """
    if not str(name):
        raise InputError(f"a defence needs a name: give a saved folder, or one of {', '.join(FIXED)}.")
    kind, _, options = str(name).partition(":")
    if not (options and kind in FIXED) and Path(name).is_dir():
        return _saved(Path(name))
    if kind in FIXED:
        try:
            return _fixed(kind, [option for option in options.split(",") if option])
        except InputError as error:
            raise InputError(f"defence {kind}: {error}") from error
    raise InputError(
        f"there is no defence {str(name)!r}: give a saved folder, or one of {', '.join(FIXED)}. "
        f"`davsp fit` makes {', '.join(FITTED)}, `davsp train` a visual safety prompt."
    )


def check_defence(defence: AnyDefence, model: VisionLanguageModel) -> None:
    """Raise ArtefactError when a defence was made for another model than `model`."""
    check = getattr(defence, "check", None)
    if check is not None:
        check(model)


def check_served(defence: AnyDefence) -> None:
    """Raise InputError for a defence that needs more of a model than one on a server offers."""
    if getattr(defence, "begins_answers", False):
        raise InputError(
            f"{defence.name} needs a model that goes on from a begun answer, and servers begin a new one. Load the "
            "model itself, or leave this defence out."
        )


def _fixed(kind: str, assignments: list[str]) -> AnyDefence:
    from davsp.defences.prompted import PromptDefence
    from davsp.prompts.text import SAFETY_PREFIX
    from davsp.util.options import read_options

    if kind == "adashield-s":
        from davsp.defences.adashield import AdaShieldS, AdaShieldSOptions

        return AdaShieldS(read_options(AdaShieldSOptions, {}, assignments))
    if kind == "eta":
        from davsp.defences.eta import Eta

        return Eta.of(assignments)
    if assignments:
        raise InputError(f"it has no options: leave out {','.join(assignments)!r}.")
    if kind == "ecso":
        from davsp.defences.ecso import Ecso

        return Ecso()
    return PromptDefence(kind, prefix=SAFETY_PREFIX if kind == "prefix" else "")


def _saved(folder: Path) -> AnyDefence:
    from davsp.defences import adashield, esiii, pat, stored, uniguard
    from davsp.defences.guard import Guard
    from davsp.defences.visual_safety_prompt import VisualSafetyPrompt

    if (told := stored.read_config(folder).get("kind")) is None:
        return VisualSafetyPrompt.load(folder)
    kind = str(told)
    if kind == adashield.KIND:
        return adashield.AdaShieldA.load(folder)
    about = {module.KIND: module.ABOUT for module in (esiii, pat, uniguard)}
    if kind not in about:
        raise InputError(f"{folder} holds a defence of an unknown kind, {kind!r}: upgrade with `pip install -U davsp`.")
    return Guard.load(folder, about[kind])
