"""What the model is told, and what of its writing is fit to be spoken.

A model of 135 million parameters follows examples rather than instructions. These make it take up what was said in a
short sentence or two. They were chosen among some dozens of sets by how many of thirty Harvard sentences got a reply
that shares a word with them and is no mere echo, by whether a name is remembered over five turns, and by how long the
replies are: a model writes as long as its examples, and every word takes a tenth of a second to speak.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Exchange = tuple[str, str]
"""What the caller said, and the reply."""
Message = dict[str, str]

SYSTEM = "You are a friendly voice on the telephone. Answer in one short sentence about what the caller said."
EXAMPLES: tuple[Exchange, ...] = (
    ("We walked along the river for hours.", "A long walk sounds lovely to me."),
    ("The old train was late again this morning.", "Oh no, did you wait long for it?"),
    ("Hello, can you hear me?", "Hello, yes, I can hear you well."),
    ("She put the flowers in a tall glass.", "Flowers look lovely in a tall glass."),
)

_MARKUP = re.compile(r"<\|[^|>]*\|?>?")
_UNSPEAKABLE = re.compile(r"[^\w\s.,;:!?'’%$€£&+/–—-]")  # noqa: RUF001 (typographic marks that models write)


def messages(history: Sequence[Exchange], said: str) -> list[Message]:
    """The chat so far, as chat templates want it."""
    chat = [{"role": "system", "content": SYSTEM}]
    for caller, reply in (*EXAMPLES, *history):
        chat += [{"role": "user", "content": _plain(caller)}, {"role": "assistant", "content": reply}]
    return [*chat, {"role": "user", "content": _plain(said)}]


def fit(
    history: Sequence[Exchange], said: str, count: Callable[[list[Message]], int], most_tokens: int
) -> list[Message]:
    """The chat with as much of it as fits: what was said first goes first, the system prompt and examples stay.

    `count` counts the tokens of a chat. Where what is said now is too long on its own, its end is kept.
    """
    kept = list(history)
    while kept and count(messages(kept, said)) > most_tokens:
        kept.pop(0)
    while not kept and len(said) > 1 and count(messages(kept, said)) > most_tokens:
        said = said[len(said) // 2 :]
    return messages(kept, said)


def speakable(text: str) -> str:
    """The text without what cannot be spoken: markdown, quotation marks, emoji."""
    return _UNSPEAKABLE.sub("", text)


def _plain(said: str) -> str:
    """What was said, without what a chat template would take for its own marks."""
    return _MARKUP.sub("", said).strip()
