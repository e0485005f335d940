"""What a tap asks of a protocol: bytes in, what was said out. Other packages can bring protocols of their own.

A protocol is an object with the attributes of `LinkProtocol`, found by its name among the entry points of the group
``voiceloop.protocols``. It opens no socket: a tap feeds it what passes, and passes it on whether it is understood or
not.
"""

from __future__ import annotations

import difflib
import importlib.metadata
from dataclasses import dataclass
from typing import Literal, Protocol, cast

GROUP = "voiceloop.protocols"
Direction = Literal["forward", "back"]
"""Forward is what the one that connects sends, back what it is answered."""
Kind = Literal["hello", "text", "delta", "audio", "bytes", "end", "cancel", "bye", "failed", "garbled"]

ITEMS: tuple[Kind, ...] = ("text", "delta", "audio", "bytes")
"""What a link is there for, as against what stands between it."""


class ProtocolError(ValueError):
    """A name that nobody has registered; the message lists those that there are."""


@dataclass(frozen=True, slots=True)
class Passed:
    """Something that passed on a connection, whole.

    ========  =====================================================================================
    kind      payload
    ========  =====================================================================================
    hello     the call's id, ASCII digits: whose connection it is
    text      UTF-8: a transcript, or a clause of a reply
    delta     UTF-8 that goes on where the text before it stopped, in the middle of a word perhaps
    audio     float32 little-endian mono samples at `sample_rate_hz`
    bytes     what is not understood any further, such as an audio codec
    end       nothing: the transcript or reply is complete
    cancel    nothing: what came since the last end is taken back
    bye       nothing: the call is over
    failed    UTF-8: why what was asked got no whole answer, as its service or connection says it
    garbled   UTF-8: why the bytes are none of this protocol. Nothing is fed to it after that
    ========  =====================================================================================
    """

    direction: Direction
    kind: Kind
    payload: bytes = b""
    sample_rate_hz: int = 0


class Conversation(Protocol):
    """One connection as a protocol understands it. It is fed from one thread at a time."""

    def feed(self, direction: Direction, data: bytes) -> list[Passed]:
        """Take what has arrived in one direction and return what that completes, in order.

        How the bytes were cut into reads makes no difference, but that a stream of audio or bytes is said in the pieces
        in which it was read. No data is that direction's end of stream, and what it shows may concern the other one. It
        does not raise, keeps no more than has arrived, and says ``garbled`` for what it cannot read.
        """


class LinkProtocol(Protocol):
    """What is spoken on a link."""

    @property
    def stamps(self) -> Direction:
        """The direction in which what the link is there for passes: its first and last piece stamp the event."""

    @property
    def greets(self) -> bool:
        """Whether every connection begins with ``hello``, as soon as a call begins.

        Where it does not, what passes belongs to the one call that is open.
        """

    def open(self) -> Conversation:
        """A new connection."""


def protocol(name: str) -> LinkProtocol:
    """The protocol of that name. Raises ProtocolError."""
    return cast("LinkProtocol", registered(GROUP, "protocol", name))


def registered(group: str, what: str, name: str) -> object:
    """What a package has registered under a name. Raises ProtocolError, which calls it `what`."""
    found = importlib.metadata.entry_points(group=group)
    if name not in found.names:
        close = difflib.get_close_matches(name, found.names, 1)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        raise ProtocolError(f"no {what} is called {name!r}{hint} There are {', '.join(sorted(found.names))}")
    return cast("object", found[name].load())
