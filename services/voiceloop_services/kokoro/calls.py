"""What one call has still to say, in order. No sockets, no threads."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from voiceloop_services.kokoro.sound import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from collections.abc import Iterator

    from voiceloop_services.kokoro.sound import Chunk

MOST_AHEAD_S = 300
"""Seconds of audio of a call that may wait for END or for outbound. Text is small and its audio is not: without a limit
a mebibyte of text, or an outbound that stands still, would fill the memory."""


@dataclass(slots=True, eq=False)
class Clause:
    """A text to be spoken. `chunks` are what was made of it and has not left yet."""

    text: str
    confirmed: bool
    opens: bool
    """Whether it is the first one of its reply."""
    making: Iterator[Chunk] | None = None
    """What makes the next chunk, once it was begun."""
    chunks: deque[Chunk] = field(default_factory=deque)
    made_s: float = 0.0
    took_s: float = 0.0
    done: bool = False
    dropped: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Mark:
    """A place between clauses: the reply or the call ends here."""

    kind: Literal["end", "bye"]


class CallQueue:
    """Clauses and marks of a call, from their arrival until they leave for outbound.

    With `control`, a clause leaves only when an END (or the BYE that drains) after it has confirmed it.
    """

    def __init__(self, control: bool) -> None:
        self._control = control
        self._items: deque[Clause | Mark] = deque()

    def say(self, text: str) -> None:
        """Add a clause."""
        opens = not self._items or isinstance(self._items[-1], Mark)
        self._items.append(Clause(text, confirmed=not self._control, opens=opens))

    def mark(self, kind: Literal["end", "bye"]) -> None:
        """Add END or BYE, which confirm what came before."""
        for item in self._items:
            if isinstance(item, Clause):
                item.confirmed = True
        self._items.append(Mark(kind))

    def cancel(self) -> int:
        """Drop the clauses since the last END, spoken or not. Returns how many."""
        dropped = 0
        while self._items and isinstance(self._items[-1], Clause):
            dropped += _drop(self._items.pop())
        return dropped

    def drop_unconfirmed(self) -> int:
        """Drop the clauses that nobody can confirm any more. Returns how many."""
        return self.cancel() if self._control else 0

    def drop_confirmed(self) -> int:
        """Drop what could leave or will, and keep what may still be confirmed. Returns how many clauses."""
        dropped = 0
        while self._items and (isinstance(self._items[0], Mark) or self._items[0].confirmed):
            dropped += _drop(self._items.popleft())
        return dropped

    def clear(self) -> int:
        """Drop everything. Returns how many clauses."""
        dropped = sum(_drop(item) for item in self._items)
        self._items.clear()
        return dropped

    def next_unspoken(self) -> Clause | None:
        """The first clause that has not been spoken to its end; None while more than MOST_AHEAD_S waits to leave."""
        waiting = 0
        for item in self._items:
            if isinstance(item, Clause):
                waiting += sum(len(chunk.samples) for chunk in item.chunks)
                if waiting > MOST_AHEAD_S * SAMPLE_RATE_HZ:
                    return None
                if not item.done:
                    return item
        return None

    def has_bye(self) -> bool:
        """Whether BYE has arrived and not left yet."""
        return any(isinstance(item, Mark) and item.kind == "bye" for item in self._items)

    def ready(self) -> bool:
        """Whether `pop` would return something."""
        while self._items and isinstance(first := self._items[0], Clause) and first.done and not first.chunks:
            self._items.popleft()
        if not self._items:
            return False
        first = self._items[0]
        return isinstance(first, Mark) or (first.confirmed and bool(first.chunks))

    def pop(self) -> Chunk | Mark:
        """Take what leaves next; only when `ready`."""
        first = self._items[0]
        if isinstance(first, Clause):
            return first.chunks.popleft()
        self._items.popleft()
        return first


def _drop(item: Clause | Mark) -> int:
    if isinstance(item, Mark):
        return 0
    # It may be with the speaker just now, who has no other way to know.
    item.dropped = True
    item.chunks.clear()
    return 1
