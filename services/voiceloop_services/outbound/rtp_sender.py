"""From a reply's audio to RTP packets and the moments at which they leave. No sockets, no threads, no clock."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import soxr

from pytest_voiceloop.wire import rtp
from voiceloop_services import runtime

if TYPE_CHECKING:
    from numpy.typing import NDArray

Pace = Literal["asap", "realtime"]
QUALITY = "HQ"
"""soxr's recipe: pass band to 3.65 kHz, everything from 4 kHz up at least 100 dB down."""
PACKET_S = rtp.PACKET_MS / 1000


class Packetiser:
    """Turns the chunks of a reply into µ-law payloads of 160 bytes.

    The anti-alias filter's state lasts over chunks, so the cuts between them cannot be heard. What the filter and an
    unfilled packet hold back (up to 84 ms) comes out with `finish`.
    """

    def __init__(self) -> None:
        self._rate_hz = 0
        self._resampler: soxr.ResampleStream | None = None
        self._rest = np.zeros(0, dtype=np.float32)

    @property
    def pending(self) -> bool:
        """Whether something is held back."""
        return self._resampler is not None or len(self._rest) > 0

    def feed(self, samples: NDArray[np.float32], rate_hz: int) -> list[bytes]:
        """The packets that float32 mono `samples`, shape (n,), complete. The rate may change between chunks."""
        resampled = []
        if self._resampler is None or rate_hz != self._rate_hz:
            resampled.append(self._flush())
            self._rate_hz = rate_hz
            self._resampler = soxr.ResampleStream(rate_hz, rtp.RATE_HZ, 1, dtype="float32", quality=QUALITY)
        resampled.append(self._resampler.resample_chunk(runtime.sound(samples)))
        return self._cut(np.concatenate([self._rest, *resampled]))

    def finish(self) -> list[bytes]:
        """The rest of the reply, its last packet filled with silence. The next chunk starts afresh."""
        rest = np.concatenate([self._rest, self._flush()])
        padding = np.zeros(-len(rest) % rtp.PACKET_SAMPLES, dtype=np.float32)
        return self._cut(np.concatenate([rest, padding]))

    def clear(self) -> None:
        """Forget what is held back."""
        self._resampler = None
        self._rest = self._rest[:0]

    def _flush(self) -> NDArray[np.float32]:
        if self._resampler is None:
            return np.zeros(0, dtype=np.float32)
        tail: NDArray[np.float32] = self._resampler.resample_chunk(np.zeros(0, dtype=np.float32), last=True)
        self._resampler = None
        return tail

    def _cut(self, samples: NDArray[np.float32]) -> list[bytes]:
        whole = len(samples) - len(samples) % rtp.PACKET_SAMPLES
        self._rest = samples[whole:]
        encoded = rtp.encode_ulaw(samples[:whole])
        return [encoded[at : at + rtp.PACKET_SAMPLES] for at in range(0, whole, rtp.PACKET_SAMPLES)]


@dataclass(frozen=True, slots=True)
class Departure:
    """When a packet leaves, in seconds of the caller's clock, and how much silence a player hears before it."""

    at_s: float
    gap_samples: int


class Schedule:
    """Absolute deadlines for the packets of a call.

    A player that starts with the first packet and never stops has its own clock: packet after packet, 20 ms each.
    A packet that was not ready when its turn came is an underrun: the player hears a gap, and the clock is set anew.
    A sender that merely wakes up late causes none. At the pace ``realtime`` packets leave on the player's clock, at
    ``asap`` as soon as they are ready.
    """

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._plays_at_s: float | None = None

    def plan(self, ready_at_s: float) -> Departure:
        """When the next packet leaves, if it was ready at `ready_at_s`."""
        late_s = 0.0 if self._plays_at_s is None else max(0.0, ready_at_s - self._plays_at_s)
        at_s = ready_at_s if self._pace == "asap" else self._turn(ready_at_s)
        return Departure(at_s, round(late_s * rtp.RATE_HZ))

    def commit(self, ready_at_s: float) -> None:
        """Say that the packet planned for `ready_at_s` has left."""
        self._plays_at_s = self._turn(ready_at_s) + PACKET_S

    def _turn(self, ready_at_s: float) -> float:
        return ready_at_s if self._plays_at_s is None else max(self._plays_at_s, ready_at_s)


class RtpStream:
    """Numbers the packets of a call: random start (RFC 3550), marker on the first packet of each talkspurt."""

    def __init__(self, sequence: int | None = None, timestamp: int | None = None, ssrc: int | None = None) -> None:
        self._sequence = secrets.randbits(16) if sequence is None else sequence
        self._timestamp = secrets.randbits(32) if timestamp is None else timestamp
        self.ssrc = secrets.randbits(32) if ssrc is None else ssrc
        self._marker = True

    def new_talkspurt(self) -> None:
        """Set the marker on the next packet."""
        self._marker = True

    def packet(self, payload: bytes, gap_samples: int = 0) -> rtp.RtpPacket:
        """The next packet; `gap_samples` of silence (at 8 kHz) were not sent before it."""
        self._timestamp = (self._timestamp + gap_samples) & 0xFFFFFFFF
        made = rtp.RtpPacket(self._sequence, self._timestamp, self.ssrc, payload, self._marker or gap_samples > 0)
        self._sequence = (self._sequence + 1) & 0xFFFF
        self._timestamp = (self._timestamp + len(payload)) & 0xFFFFFFFF
        self._marker = False
        return made
