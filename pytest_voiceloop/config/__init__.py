"""``voiceloop.toml``, or ``[tool.voiceloop]`` in a pyproject.toml: a stack, and named budgets."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_voiceloop.config import stack as stacks
from pytest_voiceloop.config.table import ConfigError, File, Table
from pytest_voiceloop.stack.checks import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_voiceloop.measure.budgets import Budget
    from pytest_voiceloop.stack.spec import Pace, StackSpec

NAME = "voiceloop.toml"
STARTER = Path(__file__).with_name("starter.toml")
"""What ``voiceloop init`` writes."""
_SHARED = "pyproject.toml"


@dataclass(frozen=True, slots=True)
class Config:
    """A file that was read. What it says is looked at where it is asked for."""

    table: Table

    @property
    def path(self) -> Path:
        """The file."""
        return self.table.file.path

    @property
    def profiles(self) -> tuple[str, ...]:
        """The names of its budget profiles."""
        return tuple(self.table.table("profiles").values)

    def stack(self, pace: Pace = "asap", seed: int = 0) -> StackSpec | None:
        """Its stack; None where it describes none. Raises ConfigError."""
        return stacks.stack(self.table, pace, seed)

    def profile(self, name: str) -> tuple[Budget, ...]:
        """The budgets of a profile. Raises ConfigError."""
        from pytest_voiceloop import markers

        profiles = self.table.table("profiles")
        if name not in profiles.values:
            raise profiles.error(f"there is no profile {name!r}; {did_you_mean(name, profiles.values)}")
        table = profiles.table(name)
        try:
            return markers.of_profile(table.values, f"profile {name} in {self.path.name}")
        except ValueError as error:
            raise table.error(str(error)) from None


def find(folders: Iterable[Path]) -> Path | None:
    """The configuration in the first folder that has one. Raises ConfigError where a folder has two."""
    for folder in folders:
        own, shared = folder / NAME, folder / _SHARED
        has_own, has_table = own.is_file(), shared.is_file() and "voiceloop" in _read(shared)[1].get("tool", {})
        if has_own and has_table:
            raise ConfigError(f"{own}: {shared} has a [tool.voiceloop] too; keep one of them")
        if has_own or has_table:
            return own if has_own else shared
    return None


def load(path: Path) -> Config:
    """Read a configuration. Raises ConfigError."""
    text, values = _read(path)
    prefix: tuple[str, ...] = ()
    if path.name == _SHARED:
        prefix = ("tool", "voiceloop")
        if "voiceloop" not in values.get("tool", {}):
            raise ConfigError(f"{path}: it has no [tool.voiceloop]; add that table, or name a {NAME}")
        values = Table(values["tool"], File(path, text, ("tool",))).get("voiceloop", dict)
    table = Table(values, File(path, text, prefix))
    table.only(*stacks.STACK_KEYS, "profiles")
    return Config(table)


def _read(path: Path) -> tuple[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
        return text, tomllib.loads(text)
    except OSError as error:
        raise ConfigError(
            f"{path}: it cannot be read ({error.strerror}); correct the path, or write it with voiceloop init"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: it is no UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        found = re.fullmatch(r"(.*) \(at line (\d+), column (\d+)\)", str(error))
        what, place = (found[1], f":{found[2]}:{found[3]}") if found else (str(error), "")
        raise ConfigError(f"{path}{place}: this is no TOML: {what}; correct it there, or just before") from None


__all__ = ["NAME", "STARTER", "Config", "ConfigError", "find", "load"]
