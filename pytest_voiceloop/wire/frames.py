"""The length-prefixed frames of the four TCP links.

Integers are unsigned 32-bit big-endian, audio is IEEE float32 little-endian mono in [-1, 1].

=========  ==============================================  =======================================
layout     data frame                                      used on
=========  ==============================================  =======================================
AUDIO_IN   ``[nbytes][float32 at 16 kHz]``                 caller → whisper
TEXT       ``[n][UTF-8]``                                  whisper → llama, llama → kokoro
AUDIO_OUT  ``[nbytes][sample_rate][chunk_id][float32]``    kokoro → outbound
=========  ==============================================  =======================================

Every connection begins with HELLO (``[n][call id]``) in the layout's own direction. END, CANCEL and BYE are
reserved lengths: one word on the first two layouts, a whole 12-byte header on AUDIO_OUT, where BYE is all zero.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Kind = Literal["hello", "audio", "text", "end", "cancel", "bye"]

MAX_HELLO_BYTES = 1000
MAX_TEXT_BYTES = 10 * 1024 * 1024
MAX_AUDIO_IN_BYTES = 2_000_000
MAX_AUDIO_OUT_BYTES = 10 * 1024 * 1024
AUDIO_IN_HZ = 16_000
"""Sample rate of AUDIO_IN frames."""

_AUDIO_OUT_RATES_HZ = range(8_000, 192_001)
_BYE_WORD = 0xFFFFFFFF
_END_WORD = 0xFFFFFFFE
_CANCEL_WORD = 0xFFFFFFFD
_WORD = struct.Struct(">I")
_HEADER = struct.Struct(">III")


class Layout(Enum):
    """Which of the three frame layouts a link speaks."""

    AUDIO_IN = "audio-in"
    TEXT = "text"
    AUDIO_OUT = "audio-out"


_MAX_BYTES = {
    Layout.AUDIO_IN: MAX_AUDIO_IN_BYTES,
    Layout.TEXT: MAX_TEXT_BYTES,
    Layout.AUDIO_OUT: MAX_AUDIO_OUT_BYTES,
}


class WireError(ValueError):
    """Bytes that are no frame. `offset` counts bytes from the start of the connection.

    `frames` are the whole frames that arrived in the same read, before those bytes: they still count.
    """

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(f"{message} (at byte {offset} of the connection)")
        self.offset = offset
        self.frames: list[Frame] = []


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame. `payload` is the call id, the text or the raw float32 samples; empty for END, CANCEL and BYE."""

    kind: Kind
    payload: bytes = b""
    sample_rate_hz: int = 0
    chunk_id: int = 0

    @property
    def text(self) -> str:
        """The payload as text (HELLO and text frames; the decoder has checked that it is UTF-8)."""
        return self.payload.decode()

    @property
    def samples(self) -> NDArray[np.float32]:
        """The payload as samples, float32, shape (n,), read-only."""
        return np.frombuffer(self.payload, dtype="<f4")


def encode_hello(call_id: str) -> bytes:
    """HELLO, the first frame of every connection. Raises ValueError for what is no decimal call id."""
    if not (call_id.isascii() and call_id.isdigit() and len(call_id) <= MAX_HELLO_BYTES):
        raise ValueError(f"{call_id[:40]!r} is no decimal call id of 1 to {MAX_HELLO_BYTES} digits")
    raw = call_id.encode("ascii")
    return _WORD.pack(len(raw)) + raw


def encode_text(text: str) -> bytes:
    """A text frame. Raises ValueError for empty text or text over 10 MiB."""
    raw = text.encode()
    if not 1 <= len(raw) <= MAX_TEXT_BYTES:
        raise ValueError(f"a text frame holds 1 to {MAX_TEXT_BYTES} bytes, not {len(raw)}")
    return _WORD.pack(len(raw)) + raw


def encode_audio_in(samples: NDArray[np.float32]) -> bytes:
    """An AUDIO_IN frame of float32 mono samples at 16 kHz, shape (n,). Raises ValueError for none or too many."""
    raw = np.ascontiguousarray(samples, dtype="<f4").tobytes()
    if not 4 <= len(raw) <= MAX_AUDIO_IN_BYTES:
        raise ValueError(f"an audio-in frame holds 4 to {MAX_AUDIO_IN_BYTES} bytes, not {len(raw)}")
    return _WORD.pack(len(raw)) + raw


def encode_audio_out(samples: NDArray[np.float32], sample_rate_hz: int, chunk_id: int) -> bytes:
    """An AUDIO_OUT frame of float32 mono samples, shape (n,). Chunk ids count from 1 after each HELLO.

    Raises ValueError for no or too many samples and for a sample rate that a decoder refuses.
    """
    if sample_rate_hz not in _AUDIO_OUT_RATES_HZ:
        raise ValueError(f"an audio-out frame holds 8000 to 192000 Hz, not {sample_rate_hz}")
    raw = np.ascontiguousarray(samples, dtype="<f4").tobytes()
    if not 4 <= len(raw) <= MAX_AUDIO_OUT_BYTES:
        raise ValueError(f"an audio-out frame holds 4 to {MAX_AUDIO_OUT_BYTES} bytes, not {len(raw)}")
    return _HEADER.pack(len(raw), sample_rate_hz, chunk_id) + raw


def encode_control(kind: Literal["end", "cancel", "bye"], layout: Layout) -> bytes:
    """END, CANCEL or BYE in the link's layout. Raises ValueError for END and CANCEL on AUDIO_IN, which has neither."""
    if layout is Layout.AUDIO_IN and kind != "bye":
        raise ValueError(f"the audio-in layout has no {kind.upper()}; only BYE ends it")
    if layout is Layout.AUDIO_OUT:
        return _HEADER.pack({"end": _END_WORD, "cancel": _CANCEL_WORD, "bye": 0}[kind], 0, 0)
    return _WORD.pack({"end": _END_WORD, "cancel": _CANCEL_WORD, "bye": _BYE_WORD}[kind])


class Decoder:
    """Incremental decoder of one direction of one connection.

    It never allocates what a header claims, only what has arrived, and checks every header before it waits for the
    payload. After a WireError the connection has to be closed: there is no way to find the next frame.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._buffer = bytearray()
        self._offset = 0
        self._greeted = False

    def feed(self, data: bytes) -> list[Frame]:
        """Take what has arrived and return the frames it completes.

        Raises WireError, which carries the frames before the bad bytes: what a receiver gets to see does not depend on
        how the bytes were cut into reads.
        """
        self._buffer += data
        frames: list[Frame] = []
        try:
            while (frame := self._take()) is not None:
                frames.append(frame)
        except WireError as error:
            error.frames = frames
            raise
        return frames

    def finish(self) -> None:
        """Say that the peer has closed. Raises WireError if that was in the middle of a frame."""
        if self._buffer:
            raise WireError(f"the connection ended {len(self._buffer)} bytes into a frame", self._offset)

    def _take(self) -> Frame | None:
        if not self._greeted:
            frame, size = self._hello()
            self._greeted = frame is not None
        elif self.layout is Layout.AUDIO_OUT:
            frame, size = self._audio_out()
        else:
            frame, size = self._word_frame()
        if frame is not None:
            del self._buffer[:size]
            self._offset += size
        return frame

    def _hello(self) -> tuple[Frame | None, int]:
        if len(self._buffer) < _WORD.size:
            return None, 0
        (length,) = _WORD.unpack_from(self._buffer)
        if not 1 <= length <= MAX_HELLO_BYTES:
            raise WireError(f"expected HELLO of 1 to {MAX_HELLO_BYTES} bytes, the header says {length}", self._offset)
        size = _WORD.size + length
        if len(self._buffer) < size:
            return None, 0
        call_id = bytes(self._buffer[_WORD.size : size])
        if not call_id.isdigit():
            raise WireError(f"HELLO carries {call_id[:40]!r}, which is no decimal call id", self._offset)
        return Frame("hello", call_id), size

    def _word_frame(self) -> tuple[Frame | None, int]:
        if len(self._buffer) < _WORD.size:
            return None, 0
        (length,) = _WORD.unpack_from(self._buffer)
        if length == _BYE_WORD:
            return Frame("bye"), _WORD.size
        if self.layout is Layout.TEXT and length in (_END_WORD, _CANCEL_WORD):
            return Frame("end" if length == _END_WORD else "cancel"), _WORD.size
        self._check_length(length)
        size = _WORD.size + length
        if len(self._buffer) < size:
            return None, 0
        payload = bytes(self._buffer[_WORD.size : size])
        if self.layout is Layout.AUDIO_IN:
            return Frame("audio", payload, AUDIO_IN_HZ), size
        try:
            payload.decode()
        except UnicodeDecodeError as error:
            raise WireError(f"a text frame is not UTF-8: {error.reason}", self._offset) from None
        return Frame("text", payload), size

    def _audio_out(self) -> tuple[Frame | None, int]:
        if len(self._buffer) < _HEADER.size:
            return None, 0
        length, rate, chunk_id = _HEADER.unpack_from(self._buffer)
        if (length, rate, chunk_id) == (0, 0, 0):
            return Frame("bye"), _HEADER.size
        if length in (_END_WORD, _CANCEL_WORD):
            return Frame("end" if length == _END_WORD else "cancel"), _HEADER.size
        self._check_length(length)
        if rate not in _AUDIO_OUT_RATES_HZ:
            raise WireError(f"an audio-out header claims a sample rate of {rate} Hz", self._offset)
        size = _HEADER.size + length
        if len(self._buffer) < size:
            return None, 0
        return Frame("audio", bytes(self._buffer[_HEADER.size : size]), rate, chunk_id), size

    def _check_length(self, length: int) -> None:
        most = _MAX_BYTES[self.layout]
        least = 1 if self.layout is Layout.TEXT else 4
        if not least <= length <= most:
            raise WireError(
                f"the {self.layout.value} header claims {length} bytes; {least} to {most} are allowed",
                self._offset,
            )
        if self.layout is not Layout.TEXT and length % 4:
            raise WireError(f"the {self.layout.value} header claims {length} bytes, not a multiple of 4", self._offset)
