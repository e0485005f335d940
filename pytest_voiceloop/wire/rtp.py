"""RTP (RFC 3550) with PCMU (RFC 3551 payload type 0): 8 kHz, 20 ms, 160 bytes a packet."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATE_HZ = 8_000
PACKET_SAMPLES = 160
PACKET_MS = 20
_HEADER = struct.Struct(">BBHII")
_VERSION_2 = 0x80
_MARKER = 0x80
_PADDED = 0x20
_EXTENDED = 0x10
_SILENCE = 0xFF
"""µ-law for a sample of zero."""


@dataclass(frozen=True, slots=True)
class RtpPacket:
    """One packet. `sequence` is 16 bit, `timestamp` counts samples at 8 kHz in 32 bit; both wrap around."""

    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes
    marker: bool = False

    def encode(self) -> bytes:
        """The datagram: 12 bytes of header, then the payload."""
        return (
            _HEADER.pack(
                _VERSION_2,
                _MARKER if self.marker else 0,
                self.sequence & 0xFFFF,
                self.timestamp & 0xFFFFFFFF,
                self.ssrc,
            )
            + self.payload
        )


def decode(data: bytes) -> RtpPacket | None:
    """The packet in `data`, or None where it is no whole RTP version 2 packet of payload type 0.

    Contributing sources, a header extension and padding are skipped, as RFC 3550 (5.1, 5.3.1) lays them out.
    """
    if len(data) < _HEADER.size:
        return None
    first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
    if first & 0xC0 != _VERSION_2 or second & 0x7F:
        return None
    start, end = _HEADER.size + 4 * (first & 0x0F), len(data)
    if first & _EXTENDED:
        start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4])
    if first & _PADDED:
        end -= data[-1]
    if not _HEADER.size <= start <= end or (first & _PADDED and not data[-1]):
        return None
    return RtpPacket(sequence, timestamp, ssrc, data[start:end], bool(second & _MARKER))


def payload_type(data: bytes) -> int | None:
    """What kind of sound an RTP version 2 packet says that it holds (RFC 3551, 6); None for other data."""
    if len(data) < _HEADER.size or data[0] & 0xC0 != _VERSION_2:
        return None
    return data[1] & 0x7F


def encode_ulaw(samples: NDArray[np.float32]) -> bytes:
    """G.711 µ-law of float32 samples in [-1, 1], shape (n,); what is louder is clipped, what is no number is silent.

    ITU-T G.711: bias 33 in 14-bit units (132 in 16 bit), eight segments of sixteen steps, all bits inverted.
    """
    heard = np.nan_to_num(np.clip(samples, -1.0, 1.0))
    pcm = np.clip(np.rint(heard * 32768.0), -32635, 32635).astype(np.int32)
    sign = np.where(pcm < 0, 0x80, 0)
    magnitude = np.abs(pcm) + 132
    exponent = np.floor(np.log2(magnitude)).astype(np.int32) - 7
    mantissa = (magnitude >> (exponent + 3)) & 0x0F
    return bytes((~(sign | (exponent << 4) | mantissa) & 0xFF).astype(np.uint8))


def _decode_table() -> NDArray[np.float32]:
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    magnitude = ((((code & 0x0F) << 3) + 132) << ((code >> 4) & 0x07)) - 132
    return (np.where(code & 0x80, -magnitude, magnitude) / 32768.0).astype(np.float32)


_TABLE = _decode_table()


def decode_ulaw(payload: bytes) -> NDArray[np.float32]:
    """Samples of µ-law bytes: float32 in [-1, 1], shape (n,)."""
    return _TABLE[np.frombuffer(payload, dtype=np.uint8)]


def silence(packets: int = 1) -> bytes:
    """µ-law silence for so many packets."""
    return bytes([_SILENCE]) * (PACKET_SAMPLES * packets)
