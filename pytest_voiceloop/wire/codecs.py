"""What the samples of the caller's line are packed in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from pytest_voiceloop.wire import rtp

if TYPE_CHECKING:
    from numpy.typing import NDArray

Codec = Literal["mulaw", "pcm_s16le", "pcm_f32le"]
SAMPLE_BYTES: dict[Codec, int] = {"mulaw": 1, "pcm_s16le": 2, "pcm_f32le": 4}


def encode(samples: NDArray[np.float32], codec: Codec) -> bytes:
    """Float32 samples in [-1, 1], shape (n,), as bytes; what is louder is clipped, except as float32."""
    match codec:
        case "mulaw":
            return rtp.encode_ulaw(samples)
        case "pcm_s16le":
            return bytes(np.clip(np.rint(samples * 32768.0), -32768, 32767).astype("<i2").tobytes())
        case "pcm_f32le":
            return samples.astype("<f4").tobytes()


def decode(payload: bytes, codec: Codec) -> NDArray[np.float32]:
    """Samples of `payload`: float32 in [-1, 1], shape (n,). The bytes of an unfinished sample are left out.

    Of floats, what is louder is clipped, and what is no number is silent.
    """
    whole = payload[: len(payload) // SAMPLE_BYTES[codec] * SAMPLE_BYTES[codec]]
    match codec:
        case "mulaw":
            return rtp.decode_ulaw(whole)
        case "pcm_s16le":
            return np.frombuffer(whole, "<i2").astype(np.float32) / np.float32(32768.0)
        case "pcm_f32le":
            return np.asarray(np.nan_to_num(np.clip(np.frombuffer(whole, "<f4"), -1.0, 1.0)))
