"""What models and services wrote, made fit to be shown: harmless, and as wide as it looks."""

from __future__ import annotations

import difflib
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def visible(text: object) -> str:
    r"""`text` on one line with every control character written out, such as ``\x1b``.

    Controls are also those that turn the writing direction or break a line; they and halves of surrogate pairs could
    make a terminal or a page show something else than what is there.
    """
    shown = str(text)
    if shown.isascii() and shown.isprintable():
        return shown
    return "".join(map(_visible, shown))


def _visible(character: str) -> str:
    if character in "\t\n\r":
        return " "
    if unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Zl", "Zp"):
        return character
    code = ord(character)
    # Joiners hold one emoji, or one Persian word, together.
    if code in (0x200C, 0x200D):
        return character
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def cells(text: str) -> int:
    """Columns that `text` takes on a terminal."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def clipped(text: str, width: int) -> str:
    """`text` in at most `width` columns, with ``...`` where something was cut."""
    if cells(text) <= width:
        return text
    mark = "..."[: max(width, 0)]
    return _head(text, width - len(mark)) + mark


def _head(text: str, width: int) -> str:
    taken = 0
    for position, character in enumerate(text):
        taken += _cells(character)
        if taken > width:
            return text[:position]
    return text


def wrapped(text: str, width: int, most_lines: int) -> list[str]:
    """`text` cut at spaces into lines of at most `width` columns; what `most_lines` cannot hold is clipped."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if cells(longer) <= width:
            lines[-1] = longer
        elif len(lines) == most_lines:
            lines[-1] = clipped(longer, width)
            break
        else:
            lines[-1:] = [lines[-1], word] if lines[-1] else [word]
            while cells(lines[-1]) > width and len(lines) < most_lines:
                head = _head(lines[-1], width)
                lines[-1:] = [head, lines[-1][len(head) :]]
            lines[-1] = clipped(lines[-1], width)
    return lines


def closest(word: str, known: Iterable[str]) -> str:
    """What ends a sentence on a name that there is not: the one that may be meant, else a full stop."""
    close = difflib.get_close_matches(word, list(known), 1)
    return f"; did you mean {close[0]}?" if close else "."
