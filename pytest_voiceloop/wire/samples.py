"""Streams of audio samples as they come: bare, or behind a WAV header. Out come float32 little-endian mono samples."""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from pytest_voiceloop.wire.http import Said

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_RATES_HZ = range(4000, 192_001)
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_MAX_FORMAT_BYTES = 64


@dataclass(frozen=True, slots=True)
class Format:
    """How samples are written: ``<i2`` is 16-bit and ``<f4`` is float32, both little-endian."""

    rate_hz: int
    channels: int = 1
    dtype: Literal["<i2", "<f4"] = "<i2"

    @property
    def frame_bytes(self) -> int:
        """The size of one sample of every channel."""
        return self.channels * np.dtype(self.dtype).itemsize

    def mono(self, raw: bytes) -> bytes:
        """Whole frames as float32 little-endian mono samples: the mean of the channels."""
        samples = np.frombuffer(raw, self.dtype).reshape(-1, self.channels)
        # A float may be anything at all.
        with np.errstate(all="ignore"):
            mono: NDArray[np.float32] = samples.mean(axis=1, dtype="<f4")
        if self.dtype == "<i2":
            mono /= 32768
        return mono.tobytes()


def format_of(rate_hz: object, channels: object, width_bytes: object) -> Format | None:
    """16-bit samples as some header describes them, None where it says something else, or nothing sensible."""
    if not isinstance(rate_hz, int) or not isinstance(channels, int) or width_bytes != 2:
        return None
    return Format(rate_hz, channels) if rate_hz in _RATES_HZ and channels in range(1, 9) else None


class Samples:
    """Reads bare samples."""

    def __init__(self, written: Format) -> None:
        self._format = written
        self._held = b""

    def feed(self, data: bytes) -> Iterator[Said]:
        """The samples that are complete now."""
        self._held += data
        whole = len(self._held) - len(self._held) % self._format.frame_bytes
        if whole:
            yield Said("audio", self._format.mono(self._held[:whole]), self._format.rate_hz)
        self._held = self._held[whole:]

    def end(self) -> Iterator[Said]:
        """Half a sample is none."""
        yield Said("end")


class Wav:
    """Reads WAV of 16-bit or float32 samples as it comes, or several of them one after another.

    Another codec in it, and what is no WAV at all, is said as ``bytes``.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._begun = False
        self._other = False
        self._format: Format | None = None
        self._samples: Samples | None = None
        # What is still to come of the chunk that is being read.
        self._left = 0

    def feed(self, data: bytes) -> Iterator[Said]:
        """The samples that are complete now."""
        self._held += data
        while self._held and not self._other:
            if self._left:
                piece = bytes(self._held[: self._left])
                del self._held[: len(piece)]
                self._left -= len(piece)
                if self._samples is not None:
                    yield from self._samples.feed(piece)
            elif not self._next_chunk():
                break
        if self._other and self._held:
            yield Said("bytes", bytes(self._held))
            self._held.clear()

    def end(self) -> Iterator[Said]:
        """It is complete, wherever its header says that it ends."""
        if self._held and not self._begun:
            yield Said("bytes", bytes(self._held))
        yield Said("end")

    def _next_chunk(self) -> bool:
        """Take a chunk's header, and the format itself. False where more of it has to come."""
        if not self._begun and not (b"RIFF" + self._held[4:8] + b"WAVE").startswith(self._held[:12]):
            self._other = True
            return True
        name = bytes(self._held[:4])
        used = 12 if name == b"RIFF" else 8
        if len(self._held) < used:
            return False
        size = int.from_bytes(self._held[4:8], "little")
        if name == b"fmt " and size <= _MAX_FORMAT_BYTES:
            if len(self._held) < used + size:
                return False
            self._format = _wav_format(bytes(self._held[used : used + size]))
            used += size
        elif name == b"data":
            self._other = self._format is None
            self._samples = None if self._format is None else Samples(self._format)
            # Those who do not know the length yet write 0, or one of the largest numbers there are.
            self._left = size or sys.maxsize
        elif name != b"RIFF":
            # Chunks are padded to whole words.
            self._samples = None
            self._left = size + size % 2
        self._begun = True
        del self._held[:used]
        return True


def _wav_format(chunk: bytes) -> Format | None:
    if len(chunk) < 16:
        return None
    code, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if code == _EXTENSIBLE and len(chunk) >= 26:
        (code,) = struct.unpack_from("<H", chunk, 24)
    if code == _FLOAT and bits == 32 and format_of(rate_hz, channels, 2):
        return Format(rate_hz, channels, "<f4")
    return format_of(rate_hz, channels, bits / 8) if code == _PCM else None
