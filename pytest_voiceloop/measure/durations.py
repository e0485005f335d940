"""Durations as people write them: ``"2s"``, ``"500ms"``, ``"1.5 s"``."""

from __future__ import annotations

import re

_DURATION = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*(ms|s)\s*", re.ASCII)
_BARE = re.compile(r"\d+(?:\.\d*)?|\.\d+", re.ASCII)
_MS = {"ms": 1.0, "s": 1000.0}


def parse_ms(value: object, where: str) -> float:
    """Milliseconds. `where` names the setting or marker argument, for the message.

    Raises ValueError for anything but a number with the unit ``s`` or ``ms``: a bare 2 has been meant as either.
    """
    if isinstance(value, str) and (found := _DURATION.fullmatch(value)):
        return float(found[1]) * _MS[found[2]]
    bare = "" if isinstance(value, bool) else str(value).strip()
    if _BARE.fullmatch(bare):
        raise ValueError(f'{where}: {value!r} has no unit; write "{bare}s" or "{bare}ms"')
    raise ValueError(f'{where}: {value!r} is no duration; write a number with its unit, such as "2s" or "500ms"')
