"""What nobody understands: every read is bytes, in the direction in which it passed.

First byte and last byte still stamp events, and a reply is over when it has been quiet for a while. In which direction
it passes cannot be told from bytes, so there are two: ``raw`` stamps what is sent, ``raw-answer`` what comes back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_voiceloop.wire.protocols import Passed

if TYPE_CHECKING:
    from pytest_voiceloop.wire.protocols import Direction


@dataclass(frozen=True, slots=True)
class Raw:
    """A protocol, and each of its connections too: there is nothing to remember."""

    stamps: Direction
    greets: bool = False

    def open(self) -> Raw:
        """A new connection."""
        return self

    def feed(self, direction: Direction, data: bytes) -> list[Passed]:
        """What was read. The end of a stream comes whenever it comes, and says nothing of when a reply was over."""
        return [Passed(direction, "bytes", data)] if data else []


FORWARD = Raw("forward")
BACK = Raw("back")
