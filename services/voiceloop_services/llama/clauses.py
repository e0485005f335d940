"""Cuts a reply into clauses while it is still being written, so that speaking can begin before it is complete."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MIN_WORDS = 3
MIN_CHARACTERS = 12
"""A shorter clause is spoken together with the next one: alone it would sound clipped. Nor is it left behind:
inside a sentence a cut waits until so many words of it have followed."""
LONG_CHARACTERS = 80
"""After the first clause only sentence ends cut, unless a sentence grows so long."""
ENOUGH_WORDS = 7
"""A sentence that brings the reply to so many words is the last of a brief one, and so is the second sentence."""
MAX_SENTENCES = 2

_CUT = re.compile(r"[.!?…]+[\"')\]]*(?=\s)|[,;:](?=\s)|\s[–—-](?=\s)")  # noqa: RUF001 (models write en dashes)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:mr|mrs|ms|dr|prof|sr|jr|st|vs|etc|no|approx|e\.g|i\.e|a\.m|p\.m|(?:[a-z]\.)*[a-z])\.$",
    re.IGNORECASE,
)
_PRONOUN = re.compile(r"(?:^|\s)I\.$")


def clauses(pieces: Iterable[str], *, brief: bool = False) -> Iterator[str]:
    """The clauses of a text that comes in pieces, stripped, each as soon as what follows it has begun.

    `brief` is for writers that do not know when to stop: it ends after a sentence or two, leaving further pieces
    unread, and drops a last sentence without an end where another stands before it (the writer ran into its limit).
    """
    text = ""
    sentences = words = 0
    for piece in pieces:
        text += piece
        while (cut := _next_cut(text, first=words == 0)) is not None:
            at, ends_sentence = cut
            clause = text[:at].strip()
            yield clause
            text = text[at:]
            words += len(clause.split())
            sentences += ends_sentence
            if brief and ends_sentence and (sentences >= MAX_SENTENCES or words >= ENOUGH_WORDS):
                return
    text = text.strip()
    if text and (not brief or sentences == 0 or text[-1] in ".!?…\"')"):
        yield text


def _next_cut(text: str, *, first: bool) -> tuple[int, bool] | None:
    for found in _CUT.finditer(text):
        clause = text[: found.end()].strip()
        if len(clause) < MIN_CHARACTERS or len(clause.split()) < MIN_WORDS:
            continue
        if found.group()[0] in ".!?…":
            if _is_sentence_end(clause):
                return found.end(), True
        elif (first or len(clause) >= LONG_CHARACTERS) and _words_left(text[found.end() :]) >= MIN_WORDS:
            return found.end(), False
    return None


def _words_left(rest: str) -> int:
    return len(re.split(r"[.!?…]", rest, maxsplit=1)[0].split())


def _is_sentence_end(clause: str) -> bool:
    return not _ABBREVIATION.search(clause) or _PRONOUN.search(clause) is not None
