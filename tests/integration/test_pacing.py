"""Frames leave at absolute deadlines; what is late is counted, and does not add up."""

import threading
import time

import numpy as np
import pytest

from pytest_voiceloop.call.mouth import encode_clip
from pytest_voiceloop.call.pacing import (
    FRAME_MS,
    FRAME_NS,
    Pacing,
    pace,
    pacing_in_background,
)
from pytest_voiceloop.wire.frames import Decoder, Frame, Layout, encode_hello

SILENT_FRAME = encode_clip(np.zeros(320, np.float32))[0]
CLIP = encode_clip(np.full(16_000 * 200 // 1000, 0.5, np.float32))


def frames(encoded: list[bytes]) -> list[Frame]:
    return Decoder(Layout.AUDIO_IN).feed(encode_hello("151") + b"".join(encoded))[1:]


class Line:
    """Takes frames with the time at which they left, and hangs up after so many."""

    def __init__(self, hang_up_after: int) -> None:
        self.done = threading.Event()
        self.sent: list[tuple[int, bytes]] = []
        self._most = hang_up_after

    def send(self, frame: bytes) -> None:
        self.sent.append((time.monotonic_ns(), frame))
        if len(self.sent) == self._most:
            self.done.set()


def paced(clip: list[bytes], frames_wanted: int, start_ns: int | None = None) -> tuple[Line, Pacing]:
    line, pacing = Line(frames_wanted), Pacing(start_ns or time.monotonic_ns(), [])
    pace(clip, SILENT_FRAME, line.send, pacing, line.done)
    return line, pacing


# --- the clip


@pytest.mark.parametrize(("samples", "count"), [(320, 1), (321, 2), (639, 2), (640, 2), (1, 1), (0, 0)])
def test_a_clip_is_whole_frames(samples: int, count: int) -> None:
    made = frames(encode_clip(np.ones(samples, np.float32)))
    assert [len(frame.samples) for frame in made] == [320] * count


def test_the_last_frame_is_padded_with_silence_at_its_end() -> None:
    last = frames(encode_clip(np.ones(321, np.float32)))[-1]
    assert last.samples[0] == 1
    assert not last.samples[1:].any()


def test_no_sample_is_changed() -> None:
    clip = np.random.default_rng(1).standard_normal(1600).astype(np.float32)
    assert np.array_equal(np.concatenate([frame.samples for frame in frames(encode_clip(clip))]), clip)


# --- the pace


def test_the_clip_is_followed_by_silence_until_it_is_done() -> None:
    line, _ = paced(CLIP, 15)
    assert [frame for _, frame in line.sent] == CLIP + [SILENT_FRAME] * 5


def test_no_frame_leaves_before_its_last_sample_would_have_been_captured() -> None:
    line, pacing = paced(CLIP, 15)
    for number, (at_ns, _) in enumerate(line.sent):
        assert at_ns >= pacing.start_ns + (number + 1) * FRAME_NS


def test_lateness_is_counted_for_the_clips_frames_alone() -> None:
    _, pacing = paced(CLIP, 15)
    assert len(pacing.lateness_ms) == len(CLIP)
    assert all(late >= 0 for late in pacing.lateness_ms)
    assert sorted(pacing.lateness_ms)[len(CLIP) // 2] < 20


def test_a_line_that_blocks_does_not_shift_the_frames_after_it() -> None:
    line, pacing = Line(10), Pacing(time.monotonic_ns(), [])
    caught_up: list[float] = []

    def send(frame: bytes) -> None:
        line.send(frame)
        if len(line.sent) == 2:
            # Until the fifth frame is due: the frames in between leave at once, the later ones in their time.
            while time.monotonic_ns() < pacing.start_ns + 5 * FRAME_NS:
                time.sleep(0.001)
            caught_up.append(len(pacing.lateness_ms))

    pace(CLIP, SILENT_FRAME, send, pacing, line.done)
    assert caught_up == [2]
    # The third frame was due forty milliseconds before the line was free again.
    assert pacing.lateness_ms[2] >= 2 * FRAME_MS
    assert pacing.lateness_ms[2] > pacing.lateness_ms[3] > pacing.lateness_ms[4]
    assert all(at_ns >= pacing.start_ns + (number + 1) * FRAME_NS for number, (at_ns, _) in enumerate(line.sent))


def test_a_start_that_is_over_is_made_up_for_at_once() -> None:
    start_ns = time.monotonic_ns() - 20 * FRAME_NS
    line, pacing = paced(CLIP, 10, start_ns)
    assert len(line.sent) == 10
    assert min(pacing.lateness_ms) >= 10 * FRAME_MS


def test_when_a_sample_was_spoken() -> None:
    pacing = Pacing(1_000_000_000, [])
    assert pacing.sample_ns(0) == 1_000_000_000
    assert pacing.sample_ns(16_000) == 2_000_000_000


# --- in the background


def test_the_background_ends_with_its_context() -> None:
    line, pacing = Line(1 << 30), Pacing(time.monotonic_ns(), [])
    before = threading.active_count()
    heard = threading.Event()

    def send(frame: bytes) -> None:
        line.send(frame)
        heard.set()

    with pacing_in_background(CLIP, SILENT_FRAME, send, pacing):
        assert heard.wait(20)
    assert threading.active_count() == before


def test_a_line_that_breaks_ends_the_pace_quietly() -> None:
    before, broke = threading.active_count(), threading.Event()

    def send(_: bytes) -> None:
        broke.set()
        raise BrokenPipeError

    with pacing_in_background(CLIP, SILENT_FRAME, send, Pacing(time.monotonic_ns(), [])):
        assert broke.wait(20)
    assert threading.active_count() == before
