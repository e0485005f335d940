"""Tables of a TOML file, read key by key. Whatever is wrong names file, line and key."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pytest_voiceloop.measure.durations import parse_ms
from pytest_voiceloop.stack.checks import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_HEADER = re.compile(r"\s*(\[\[?)([^\[\]]+)\]\]?\s*(#.*)?")
_KEY = re.compile(r"""\s*([\w."' -]+?)\s*=""")
_KINDS = {str: "a text in quotes", bool: "true or false", int: "a whole number", list: "a list", dict: "a table"}
_T = TypeVar("_T")


class ConfigError(ValueError):
    """A configuration that will not do: ``FILE:LINE: key: what is wrong; what to do``."""


@dataclass(frozen=True, slots=True)
class File:
    """A file that was read. `prefix` is where its tables begin: ``("tool", "voiceloop")`` in a pyproject.toml."""

    path: Path
    text: str
    prefix: tuple[str, ...] = ()

    def where(self, *key: str | int) -> str:
        """``FILE:LINE: key``, with the line of the innermost part of the key that stands at the beginning of one."""
        whole = (*self.prefix, *key)
        line = _line(self.text, whole)
        shown = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in whole).removeprefix(".")
        return ": ".join(filter(None, (f"{self.path}:{line}" if line else str(self.path), shown)))

    def error(self, message: str, *key: str | int) -> ConfigError:
        """The error to raise."""
        return ConfigError(f"{self.where(*key)}: {message}")


@dataclass(frozen=True, slots=True)
class Table:
    """A table, and where it stands."""

    values: Mapping[str, Any]
    file: File
    key: tuple[str | int, ...] = ()

    def error(self, message: str, *key: str | int) -> ConfigError:
        """The error to raise for this table, or a key of it."""
        return self.file.error(message, *self.key, *key)

    def only(self, *known: str) -> None:
        """Raise ConfigError for a key that is none of these."""
        for name in self.values:
            if name not in known:
                raise self.error(f"there is no such key; {did_you_mean(name, known)}", name)

    def get(self, name: str, kind: type[_T], default: _T | None = None) -> _T:
        """The value of a key. Raises ConfigError for one of another type, and for none where there is no default."""
        value = self.values.get(name, default)
        if value is None:
            raise self.error(f"it has no {name!r}; add one: {_KINDS[kind]}")
        # A bool is an int to Python, and to nobody else.
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.error(f"{value!r} will not do; write {_KINDS[kind]}", name)
        return value

    def choice(self, name: str, allowed: Mapping[str, _T], default: str | None = None) -> _T:
        """What one of these words stands for. Raises ConfigError for another."""
        word = self.get(name, str, default)
        if word not in allowed:
            raise self.error(f"{word!r} is none of its values; {did_you_mean(word, allowed)}", name)
        return allowed[word]

    def table(self, name: str) -> Table:
        """A table within this one, empty where there is none. Raises ConfigError where it is something else."""
        return Table(self.get(name, dict, {}), self.file, (*self.key, name))

    def tables(self, name: str) -> list[Table]:
        """The tables of an array. Raises ConfigError where it is something else."""
        values = self.get(name, list, [])
        for value in values:
            if not isinstance(value, dict):
                raise self.error(f"{value!r} is no table; write [[{name}]] above each", name)
        return [Table(value, self.file, (*self.key, name, number)) for number, value in enumerate(values)]

    def texts(self, name: str) -> dict[str, str]:
        """A table of texts."""
        table = self.table(name)
        return {key: table.get(key, str) for key in table.values}

    def words(self, name: str) -> tuple[str, ...]:
        """A list of texts."""
        values = self.get(name, list, [])
        for value in values:
            if not isinstance(value, str):
                raise self.error(f"{value!r} is in the list; write {_KINDS[str]}", name)
        return tuple(values)

    def seconds(self, name: str, default: float) -> float:
        """A duration, in seconds."""
        if name not in self.values:
            return default
        try:
            return parse_ms(self.values[name], name) / 1000
        except ValueError as error:
            raise self.error(str(error).removeprefix(f"{name}: "), name) from None


def _line(text: str, key: tuple[str | int, ...]) -> int:
    """The line at which a key, or the innermost table around it, is written; 0 for none.

    TOML's parser in the standard library keeps no positions, so headers and keys are looked for at the beginnings of
    lines: good for files as people write them, and never more than a hint.
    """
    best, depth = 0, 0
    header: tuple[str | int, ...] = ()
    seen: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if found := _HEADER.fullmatch(line):
            header = _parts(found[2])
            if found[1] == "[[":
                seen[found[2]] = seen.get(found[2], -1) + 1
                header += (seen[found[2]],)
            here = header
        elif found := _KEY.match(line):
            here = header + _parts(found[1])
        else:
            continue
        shared = min(len(here), len(key))
        if shared > depth and key[:shared] == here[:shared]:
            best, depth = number, shared
    return best


def _parts(dotted: str) -> tuple[str, ...]:
    return tuple(part.strip(" \"'") for part in dotted.split("."))
