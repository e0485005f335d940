"""When each sample of a reply would be played: what a caller's telephone makes of the packets that arrive.

Playout starts with the first packet. A sample plays on arrival or when its predecessor ends, whichever is later: there
is no jitter buffer that could hide a late packet. Predecessor means by sequence number, so a packet that was overtaken
is waited for. A packet that never came is 20 ms of silence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pytest_voiceloop.wire import codecs, rtp

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from pytest_voiceloop.wire.codecs import Codec

UNDERRUN_MS = 5.0
"""A pause between two packets that is shorter is jitter, and nobody hears it."""
AUDIBLE_PEAK = 10 ** (-50 / 20)
MAX_DROPOUT = 3000
"""A sequence number that jumps further is a restarted sender (RFC 3550, A.1), not so many lost packets."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One packet and the moment it arrived (CLOCK_MONOTONIC).

    `sequence`, `timestamp` and `marker` are RTP's; on a line that loses nothing they count up. `payload` is µ-law at
    8 kHz, or what the line was declared to carry.
    """

    arrival_ns: int
    sequence: int
    timestamp: int
    marker: bool
    payload: bytes
    codec: Codec = "mulaw"
    rate_hz: int = rtp.RATE_HZ

    @property
    def samples(self) -> NDArray[np.float32]:
        """What it plays: float32 in [-1, 1] at `rate_hz`, shape (n,)."""
        return codecs.decode(self.payload, self.codec)


def audible(packet: Arrival) -> bool:
    """Whether a packet holds more than the noise of a line that carries silence (-50 dB of full scale at its peak)."""
    samples = packet.samples
    return bool(len(samples)) and float(np.abs(samples).max()) > AUDIBLE_PEAK


@dataclass(frozen=True, slots=True)
class Playout:
    """A reply as it would be played. The arrays have one entry per packet played, in order of sequence."""

    samples: NDArray[np.float32]
    """All samples at `rate_hz`, shape (n,), silence for lost packets included, pauses for want of a packet not."""
    rate_hz: int
    starts: NDArray[np.int64]
    """Index in `samples` of the packet's first sample."""
    arrival_ns: NDArray[np.int64]
    play_ns: NDArray[np.int64]
    lost: int
    duplicated: int
    """Packets whose sequence number had been there; the first one plays."""
    reordered: int
    """Packets that arrived after a later one."""
    restarts: int
    """Times the sequence began anew."""
    timestamp_jumps: int
    """Packets that follow their predecessor, have no marker, and yet another timestamp than its end."""
    underruns: int
    """Pauses of at least 5 ms for want of a packet; a pause before a marker bit is the sender's own and no underrun."""
    gap_ms: float
    """All of those pauses together, the short ones too."""
    largest_gap_ms: float


def playout(packets: Sequence[Arrival]) -> Playout:
    """Play `packets` of one line, given in order of arrival. Without packets everything is empty and zero."""
    rate_hz = packets[0].rate_hz if packets else rtp.RATE_HZ
    numbers, restarts = _unwrapped([packet.sequence for packet in packets])
    first_seen: dict[int, Arrival] = {}
    for number, packet in zip(numbers, packets, strict=True):
        first_seen.setdefault(number, packet)
    arrived = list(first_seen)
    latest = np.maximum.accumulate(arrived) if arrived else ()
    order = sorted(first_seen)

    pieces: list[NDArray[np.float32]] = []
    starts: list[int] = []
    play_ns: list[int] = []
    gaps_ms: list[float] = []
    position = free_ns = lost = jumps = 0
    before: tuple[int, Arrival, int] | None = None
    for number in order:
        packet = first_seen[number]
        if before is not None:
            missing = number - before[0] - 1
            if missing:
                lost += missing
                pieces.append(np.zeros(missing * rate_hz * rtp.PACKET_MS // 1000, np.float32))
                position += len(pieces[-1])
                free_ns += _ns(len(pieces[-1]), rate_hz)
            elif not packet.marker and packet.timestamp != (before[1].timestamp + before[2]) & 0xFFFFFFFF:
                jumps += 1
            if packet.arrival_ns > free_ns and not packet.marker:
                gaps_ms.append((packet.arrival_ns - free_ns) / 1e6)
        starts.append(position)
        play_ns.append(max(packet.arrival_ns, free_ns))
        pieces.append(packet.samples)
        position += len(pieces[-1])
        free_ns = play_ns[-1] + _ns(len(pieces[-1]), rate_hz)
        before = number, packet, len(pieces[-1])

    return Playout(
        samples=np.concatenate(pieces) if pieces else np.zeros(0, np.float32),
        rate_hz=rate_hz,
        starts=np.array(starts, np.int64),
        arrival_ns=np.array([first_seen[number].arrival_ns for number in order], np.int64),
        play_ns=np.array(play_ns, np.int64),
        lost=lost,
        duplicated=len(packets) - len(first_seen),
        reordered=int(sum(number < most for number, most in zip(arrived, latest, strict=True))),
        restarts=restarts,
        timestamp_jumps=jumps,
        underruns=sum(gap >= UNDERRUN_MS for gap in gaps_ms),
        gap_ms=sum(gaps_ms),
        largest_gap_ms=max(gaps_ms, default=0.0),
    )


def moment_of_sample(played: Playout, index: int) -> int:
    """When sample `index` of `played.samples` is played, in ns. Raises IndexError if there is no such sample."""
    if not 0 <= index < len(played.samples):
        raise IndexError(f"sample {index} of {len(played.samples)}")
    packet = int(np.searchsorted(played.starts, index, side="right")) - 1
    # The silence of lost packets follows its predecessor without a pause, so the predecessor's time serves.
    return int(played.play_ns[packet]) + _ns(index - int(played.starts[packet]), played.rate_hz)


def with_pauses(played: Playout) -> tuple[NDArray[np.float32], list[tuple[int, int]]]:
    """The samples as a caller hears them in time, shape (n,), and where in them nothing was there to be played.

    That is silence for every pause of UNDERRUN_MS and more, the sender's own too: its first sample and its last + 1.
    """
    pauses_ns = np.diff(played.play_ns) - np.diff(played.starts) * 1_000_000_000 // played.rate_hz
    silent = np.where(pauses_ns >= UNDERRUN_MS * 1e6, pauses_ns * played.rate_hz // 1_000_000_000, 0)
    ends = played.starts[1:] + np.cumsum(silent)
    pauses = [(int(end - length), int(end)) for end, length in zip(ends, silent, strict=True) if length]
    return np.insert(played.samples, np.repeat(played.starts[1:], silent), 0.0), pauses


def _ns(samples: int, rate_hz: int) -> int:
    """How long so many samples last."""
    return samples * 1_000_000_000 // rate_hz


def _unwrapped(sequences: Sequence[int]) -> tuple[list[int], int]:
    """16-bit sequence numbers as numbers that do not wrap around, and how often the sender restarted."""
    numbers: list[int] = []
    restarts = 0
    highest, offset = 0, 0
    for sequence in sequences:
        if not numbers:
            highest = sequence
        distance = (sequence + offset - highest + 0x8000) % 0x10000 - 0x8000
        if abs(distance) > MAX_DROPOUT:
            restarts += 1
            offset = highest + 1 - sequence
            distance = 1
        numbers.append(highest + distance)
        highest = max(highest, numbers[-1])
    return numbers, restarts
