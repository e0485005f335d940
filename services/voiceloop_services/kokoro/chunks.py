"""Which part of a text is spoken when: pure functions of the model's own loudness curve.

Kokoro predicts, before any sound is made, how loud each 12.5 ms will be. So the silence around a text need not be
synthesized at all, and a long text can be made in chunks that meet where it is quiet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FRAMES_PER_S = 40
"""Of the model's text features. The loudness curve has two values a frame."""
ONSET_ABOVE = -3.0
END_BELOW = -5.0
"""What the curve puts lower than this comes out 50 dB under the loudest sound. It rises 10 ms before the sound does,
and every ms before the first sound is heard as latency; a last sound rings on."""
TAIL_VALUES = 4
"""What is kept of the ringing."""
FIRST_S = 0.5
"""Longest first chunk of a reply: it takes a fifth of a second on two cores."""
GROWTH = 1.5
"""A further chunk may be so many times as long as all before it: it is made while those are played. On a machine that
speaks at a real-time factor of 0.45 or better, nobody hears a gap."""
LEFT_OVER_S = 0.3
"""A shorter rest is not worth a chunk of its own."""


def audible(loudness: NDArray[np.float32]) -> tuple[int, int]:
    """The frames [first, end) that are worth synthesizing; (0, 0) for none. `loudness`: shape (2 * frames,)."""
    onset, rest = np.flatnonzero(loudness > ONSET_ABOVE), np.flatnonzero(loudness > END_BELOW)
    if not len(onset):
        return 0, 0
    return int(onset[0]) // 2, min(len(loudness), int(rest[-1]) + 1 + TAIL_VALUES + 1) // 2


def plan(loudness: NDArray[np.float32], made_s: float) -> list[tuple[int, int]]:
    """The chunks, as frames [first, end), in which a text is spoken of whose reply `made_s` of audio was made before.

    The first chunk of a reply is short, the next ones grow. They meet where the text is quietest within the second
    half of what a chunk may be long.
    """
    at, end = audible(loudness)
    found = []
    while at < end:
        longest_s = max(FIRST_S, GROWTH * made_s)
        longest = longest_s * FRAMES_PER_S
        if end - at <= longest + LEFT_OVER_S * FRAMES_PER_S:
            cut = end
        else:
            places = range(at + int(longest / 2), at + int(longest))
            cut = min(places, key=lambda frame: max(loudness[2 * frame - 1], loudness[2 * frame]))
        found.append((at, cut))
        made_s += (cut - at) / FRAMES_PER_S
        at = cut
    return found
