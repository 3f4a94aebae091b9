"""Attacks by name, with their options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from davsp.util.registry import Registry

if TYPE_CHECKING:
    from pydantic import BaseModel

    from davsp.attacks.base import Attack

ATTACKS: Registry[type[Attack]] = Registry("davsp.attacks", "attack")
"""By their kind."""


def load_attack(name: str, assignments: Sequence[str] = ()) -> tuple[type[Attack], BaseModel]:
    """The attack of a name, "pgd" or with options "pgd:eps=8,steps=100", and its options, which "name=value"
    assignments override. Raises InputError for an unknown name or a bad option."""
    from davsp.errors import InputError
    from davsp.util.options import read_options

    kind, _, options = name.partition(":")
    attack = ATTACKS.get(kind)
    try:
        given = [option for option in options.split(",") if option]
        return attack, read_options(attack.Options, {}, [*given, *assignments])
    except InputError as error:
        raise InputError(f"attack {kind}: {error}") from error
