"""What is found by its name: what davsp brings, and what other packages add through Python entry points."""

from __future__ import annotations

from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

from davsp.errors import InputError

T = TypeVar("T")


class Registry(Generic[T]):
    """The entry points of one group, such as `davsp.defences`; nothing is imported before it is asked for by name.

    A package adds to it in its pyproject.toml: [project.entry-points."davsp.defences"], my-defence = "my_module:Mine".
    """

    def __init__(self, group: str, what: str, base: type[T] | None = None) -> None:
        """`what` names a member in messages; `base` is the class that members are instances of (None: not checked)."""
        self.group, self.what, self.base = group, what, base

    @cached_property
    def _points(self) -> dict[str, list[EntryPoint]]:
        found: dict[str, list[EntryPoint]] = {}
        for point in entry_points(group=self.group):
            same = found.setdefault(point.name, [])
            if all(point.value != other.value for other in same):
                same.append(point)
        return found

    def names(self) -> list[str]:
        """All names, in alphabetical order."""
        return sorted(self._points)

    def __contains__(self, name: object) -> bool:
        return name in self._points

    def get(self, name: str) -> T:
        """The member of that name; its module is imported now.

        Raises InputError for a name that is none, one that two packages claim, and one whose package cannot be used.
        """
        points = self._points.get(name, [])
        if not points:
            raise InputError(f"there is no {self.what} {name!r}. Choose from {', '.join(self.names())}.")
        if len(points) > 1:
            packages = " and ".join(sorted({point.dist.name if point.dist else point.value for point in points}))
            raise InputError(f"the {self.what} {name!r} is claimed by {packages}: uninstall one of them.")
        try:
            found = points[0].load()
        except Exception as error:  # the code of others may raise anything
            raise InputError(
                f"the {self.what} {name!r} of {self._package(points[0])} cannot be loaded: {error}"
            ) from error
        if self.base is not None and not isinstance(found, self.base):
            raise InputError(
                f"the {self.what} {name!r} of {self._package(points[0])} is no {self.base.__name__}: "
                f"{points[0].value} is {found!r:.100}."
            )
        member: T = found
        return member

    @staticmethod
    def _package(point: EntryPoint) -> str:
        return point.dist.name if point.dist else point.value
