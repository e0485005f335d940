"""What one call has still to say, in order. No sockets, no threads."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(slots=True, eq=False)
class Clause:
    """A text to be spoken. `audio` (float32 mono at 24 kHz, shape (n,)) is None until it was."""

    text: str
    confirmed: bool
    audio: NDArray[np.float32] | None = None
    took_s: float = 0.0
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
        self._items.append(Clause(text, confirmed=not self._control))

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
        """The first clause without audio."""
        return next((item for item in self._items if isinstance(item, Clause) and item.audio is None), None)

    def has_bye(self) -> bool:
        """Whether BYE has arrived and not left yet."""
        return any(isinstance(item, Mark) and item.kind == "bye" for item in self._items)

    def ready(self) -> bool:
        """Whether `pop` would return something."""
        if not self._items:
            return False
        first = self._items[0]
        return isinstance(first, Mark) or (first.confirmed and first.audio is not None)

    def pop(self) -> Clause | Mark:
        """Take what leaves next; only when `ready`."""
        return self._items.popleft()


def _drop(item: Clause | Mark) -> int:
    if isinstance(item, Mark):
        return 0
    # It may be with the speaker just now, who has no other way to know.
    item.dropped = True
    return 1
