"""The frames of the reference stack's links as protocols: ``voiceloop-text`` and ``voiceloop-audio``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_voiceloop.wire.frames import Decoder, Layout, WireError
from pytest_voiceloop.wire.protocols import Passed

if TYPE_CHECKING:
    from pytest_voiceloop.wire.protocols import Direction


@dataclass(frozen=True, slots=True)
class Framed:
    """One of the layouts. Whoever connects says HELLO and then sends; nothing comes back."""

    layout: Layout
    stamps: Direction = "forward"
    greets: bool = True

    def open(self) -> FramedConversation:
        """A new connection."""
        return FramedConversation(self.layout)

    def size(self, frame: Passed) -> int:
        """How many bytes a frame has on the wire; what is garbled is none, and has none."""
        if frame.kind == "garbled":
            return 0
        # HELLO has one word of header in each layout.
        header = 12 if self.layout is Layout.AUDIO_OUT and frame.kind != "hello" else 4
        return header + len(frame.payload)


class FramedConversation:
    """One connection of frames."""

    def __init__(self, layout: Layout) -> None:
        self._decoder = Decoder(layout)

    def feed(self, direction: Direction, data: bytes) -> list[Passed]:
        """The frames that `data` completes. A connection that ends within a frame has not said that frame."""
        if direction == "back":
            return []
        garbled = []
        try:
            frames = self._decoder.feed(data)
        except WireError as error:
            frames = error.frames
            garbled = [Passed(direction, "garbled", str(error).encode())]
        return [Passed(direction, f.kind, f.payload, f.sample_rate_hz) for f in frames] + garbled


TEXT = Framed(Layout.TEXT)
AUDIO = Framed(Layout.AUDIO_OUT)
