"""A tap passes every byte on as it comes, stamps every frame, and never hides that a peer is there or gone."""

import contextlib
import itertools
import random
import socket
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from free_ports import free_ports, holding_sockets
from hypothesis import given, settings
from hypothesis import strategies as st
from tapped import (
    AUDIO,
    HELLO,
    PATIENCE_S,
    SPOKEN,
    TEXT,
    Upstream,
    is_reset,
    read,
    read_to_the_end,
    reset,
    tapped,
    until,
)

from pytest_voiceloop.call.faults import fault
from pytest_voiceloop.call.tap import Recorder, TapPoint, taps
from pytest_voiceloop.stack.spec import HOST, Link
from pytest_voiceloop.wire.frames import (
    Layout,
    encode_audio_out,
    encode_control,
    encode_hello,
    encode_text,
)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    made = Upstream()
    with made.listener:
        yield made


# --- bytes


def chunks(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(edges)]


@settings(max_examples=40, deadline=None)
@given(
    texts=st.lists(st.text(min_size=1, max_size=300).filter(lambda t: t.isprintable()), max_size=8),
    cuts=st.lists(st.integers(0, 1 << 20), max_size=30),
    answer=st.binary(max_size=2000),
)
def test_bytes_pass_unchanged_however_they_are_cut(upstream: Upstream, texts, cuts, answer) -> None:
    sent = HELLO + b"".join(encode_text(text) for text in texts) + encode_control("end", Layout.TEXT)
    with tapped(upstream.port) as tap, tap.dial(b"") as near:
        for chunk in chunks(sent, cuts):
            near.sendall(chunk)
        with upstream.accept() as far:
            assert read(far, len(sent)) == sent
            far.sendall(answer)
            assert read(near, len(answer)) == answer
        until(lambda: "end" in tap.kinds())
        assert [c.text for c in tap.recorder.of("151") if c.kind == "text"] == texts


def test_large_audio_passes_unchanged_in_both_directions_at_once(upstream: Upstream) -> None:
    noise = np.random.default_rng(1).standard_normal(1_000_000).astype(np.float32)
    down = HELLO + encode_audio_out(noise, 24_000, 1) + encode_audio_out(noise, 24_000, 2)
    up = random.Random(1).randbytes(3_000_000)
    with tapped(upstream.port, AUDIO) as tap, tap.dial() as near, upstream.accept() as far:
        senders = [threading.Thread(target=far.sendall, args=(up,))]
        senders.append(threading.Thread(target=near.sendall, args=(down[len(HELLO) :],)))
        answer: list[bytes] = []
        senders.append(threading.Thread(target=lambda: answer.append(read(near, len(up)))))
        for sender in senders:
            sender.start()
        assert read(far, len(down)) == down
        for sender in senders:
            sender.join()
        assert answer == [up]
        until(lambda: tap.kinds() == ["hello", "audio", "audio"])
        assert tap.recorder.of("151")[1].sample_rate_hz == 24_000


@pytest.mark.parametrize("where", ["at once", "after HELLO"])
def test_garbled_bytes_still_pass(where: str, upstream: Upstream) -> None:
    hello = HELLO if where == "after HELLO" else b""
    garbage = b"\x7f\xff\xff\xff no frame at all" + bytes(range(256))
    with tapped(upstream.port) as tap, tap.dial(hello + garbage) as near, upstream.accept() as far:
        assert read(far, len(hello + garbage)) == hello + garbage
        near.sendall(encode_text("and on"))
        assert read(far, 10) == encode_text("and on")


def test_what_is_garbled_is_stamped_as_such(upstream: Upstream) -> None:
    with tapped(upstream.port) as tap, tap.dial() as near, upstream.accept():
        until(lambda: tap.kinds() == ["hello"])
        near.sendall(b"\x7f\xff\xff\xff")
        until(lambda: tap.kinds() == ["hello", "garbled"])
        assert "2147483647 bytes" in tap.recorder.of("151")[1].text


# --- stamps


def test_stamps_are_in_order_and_taken_on_the_way(upstream: Upstream) -> None:
    before = time.monotonic_ns()
    with tapped(upstream.port) as tap, tap.dial() as near, upstream.accept() as far:
        for number in range(20):
            near.sendall(encode_text(f"{number:04d}"))
        read(far, len(HELLO) + 20 * 8)
        until(lambda: len(tap.kinds()) == 21)
        crossings = tap.recorder.of("151")
    stamps = [crossing.at_ns for crossing in crossings]
    assert [crossing.text for crossing in crossings[1:]] == [f"{number:04d}" for number in range(20)]
    assert stamps == sorted(stamps)
    assert before < stamps[0]
    assert stamps[-1] < time.monotonic_ns()


def test_a_frame_is_stamped_when_its_last_byte_is_there(upstream: Upstream) -> None:
    frame = encode_text("two halves")
    with tapped(upstream.port) as tap, tap.dial(HELLO + frame[:-1]) as near, upstream.accept() as far:
        read(far, len(HELLO + frame) - 1)
        until(lambda: tap.kinds() == ["hello"])
        last = time.monotonic_ns()
        near.sendall(frame[-1:])
        until(lambda: tap.kinds() == ["hello", "text"])
        assert tap.recorder.of("151")[1].at_ns > last


def test_crossings_of_two_calls_are_kept_apart(upstream: Upstream) -> None:
    with (
        tapped(upstream.port) as tap,
        tap.dial(encode_hello("1") + encode_text("one")),
        tap.dial(encode_hello("2") + encode_text("two")),
        upstream.accept(),
        upstream.accept(),
    ):
        until(lambda: tap.recorder.of("1")[1:] and tap.recorder.of("2")[1:])
        assert tap.recorder.of("1")[1].text == "one"
        assert tap.recorder.of("2")[1].text == "two"


def test_a_recorder_forgets_a_call_that_is_over(upstream: Upstream) -> None:
    with tapped(upstream.port) as tap, tap.dial() as _, upstream.accept():
        until(tap.kinds)
        tap.recorder.forget("151")
        assert tap.kinds() == []


# --- connecting


def test_upstream_hears_nothing_before_hello(upstream: Upstream) -> None:
    with tapped(upstream.port) as tap, tap.dial(HELLO[:-1]) as near:
        upstream.listener.settimeout(0.2)
        with pytest.raises(TimeoutError):
            upstream.listener.accept()
        upstream.listener.settimeout(PATIENCE_S)
        near.sendall(HELLO[-1:])
        with upstream.accept() as far:
            assert read(far, len(HELLO)) == HELLO


def test_upstream_that_refuses_is_a_reset_and_no_crossing() -> None:
    with tapped(free_ports()) as tap, tap.dial() as near:
        assert is_reset(near)
        assert tap.kinds() == []


def test_a_listener_refused_its_port_is_named() -> None:
    with socket.create_server((HOST, 0)) as foreign:
        port = foreign.getsockname()[1]
        points = [TapPoint(TEXT, SPOKEN, port, None)]
        with (
            pytest.raises(OSError, match=f"the harness cannot listen on {HOST}:{port}"),
            taps(points, Recorder(), lambda _: False),
        ):
            pass


def test_the_taps_before_a_refused_one_are_closed_again() -> None:
    with socket.create_server((HOST, 0)) as foreign:
        first = free_ports()
        points = [TapPoint(TEXT, SPOKEN, first, None), TapPoint(TEXT, SPOKEN, foreign.getsockname()[1], None)]
        with pytest.raises(OSError, match="cannot listen"), taps(points, Recorder(), lambda _: False):
            pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((HOST, first), timeout=PATIENCE_S)


# --- ends


def test_the_end_of_the_sources_stream_is_passed_on_alone(upstream: Upstream) -> None:
    with tapped(upstream.port) as tap, tap.dial() as near, upstream.accept() as far:
        near.shutdown(socket.SHUT_WR)
        assert read_to_the_end(far) == HELLO
        far.sendall(b"still talking")
        assert read(near, 13) == b"still talking"


def test_the_end_of_the_targets_stream_is_passed_on_alone(upstream: Upstream) -> None:
    with tapped(upstream.port) as tap, tap.dial() as near, upstream.accept() as far:
        far.shutdown(socket.SHUT_WR)
        assert read_to_the_end(near) == b""
        near.sendall(encode_text("still talking"))
        near.shutdown(socket.SHUT_WR)
        assert read_to_the_end(far) == HELLO + encode_text("still talking")


def test_a_target_that_resets_is_a_reset(upstream: Upstream) -> None:
    with tapped(upstream.port) as tap, tap.dial() as near:
        far = upstream.accept()
        read(far, len(HELLO))
        reset(far)
        assert is_reset(near)


def test_a_target_that_is_gone_shows_at_the_next_frame(upstream: Upstream) -> None:
    with tapped(upstream.port) as tap, tap.dial() as near:
        far = upstream.accept()
        read(far, len(HELLO))
        far.close()
        assert read_to_the_end(near) == b""
        near.sendall(encode_text("is anybody there"))

        def errors() -> bool:
            return near.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0

        until(errors)


def test_a_source_that_resets_is_a_reset(upstream: Upstream) -> None:
    with tapped(upstream.port) as tap:
        near = tap.dial()
        with upstream.accept() as far:
            read(far, len(HELLO))
            reset(near)
            assert is_reset(far)


def test_a_source_that_resets_after_the_targets_end_is_a_reset(upstream: Upstream) -> None:
    with tapped(upstream.port) as tap:
        near = tap.dial()
        with upstream.accept() as far:
            read(far, len(HELLO))
            far.shutdown(socket.SHUT_WR)
            read_to_the_end(near)
            reset(near)
            assert is_reset(far)


def test_a_source_that_leaves_without_a_word_is_let_go(upstream: Upstream) -> None:
    with tapped(upstream.port) as tap:
        before = threading.active_count()
        with tap.dial(b""):
            until(lambda: threading.active_count() > before)
        until(lambda: threading.active_count() == before)


# --- sinks


@pytest.mark.parametrize("why", ["not booted", "the judge's call"])
def test_a_sink_stamps_and_forwards_nothing(why: str, upstream: Upstream) -> None:
    sinks = frozenset({"151"} if why == "the judge's call" else ())
    with tapped(None if why == "not booted" else upstream.port, sinks=sinks) as tap, tap.dial() as near:
        near.sendall(encode_text("to nobody") + encode_control("bye", Layout.TEXT))
        until(lambda: tap.kinds() == ["hello", "text", "bye"])
        upstream.listener.settimeout(0.1)
        with pytest.raises(TimeoutError):
            upstream.listener.accept()
        upstream.listener.settimeout(PATIENCE_S)


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads take turns so often that what can come in another order does."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("eager_threads")
def test_who_hangs_up_with_the_whole_answer_takes_nothing_back(upstream: Upstream) -> None:
    exchanges = 200
    body = b'{"choices": [{"message": {"content": "Yes."}}]}'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    question = b"POST /v1/chat/completions HTTP/1.1\r\nHost: brain\r\nContent-Length: 2\r\n\r\n{}"
    with tapped(upstream.port, Link("llm_tts", "agent", "brain", "http", "openai-chat")) as tap:
        for _ in range(exchanges):
            with tap.dial(question) as near, upstream.accept() as far:
                read(far, len(question))
                far.sendall(head)
                far.sendall(body)
                assert read(near, len(head + body)) == head + body
        until(lambda: len(tap.kinds("")) >= 2 * exchanges)
        assert tap.kinds("") == ["text", "end"] * exchanges


def test_a_sink_answers_the_end_of_the_stream_by_closing() -> None:
    with tapped(None) as tap, tap.dial() as near:
        near.shutdown(socket.SHUT_WR)
        assert read_to_the_end(near) == b""


def test_another_call_than_the_sinks_is_forwarded(upstream: Upstream) -> None:
    with tapped(upstream.port, sinks=frozenset({"152"})) as tap, tap.dial(), upstream.accept() as far:
        assert read(far, len(HELLO)) == HELLO


# --- delay

DELAY_MS = 150.0
SLOW = fault("delay", "brain", duration=f"{DELAY_MS}ms")
VERY_SLOW = fault("delay", "brain", duration="60s")


def test_a_delay_holds_every_frame_back_and_stamps_its_arrival(upstream: Upstream) -> None:
    with tapped(upstream.port, faults=[SLOW]) as tap, tap.dial() as near, upstream.accept() as far:
        read(far, len(HELLO))
        for number in range(3):
            sent = time.monotonic_ns()
            near.sendall(encode_text(f"{number}"))
            assert read(far, 5) == encode_text(f"{number}")
            arrived = time.monotonic_ns()
            until(lambda: len(tap.kinds()) == number + 2)  # noqa: B023
            stamp = tap.recorder.of("151")[-1].at_ns
            assert sent < stamp
            assert arrived - stamp >= DELAY_MS * 1e6


def test_delayed_frames_keep_their_distance_and_order(upstream: Upstream) -> None:
    with tapped(upstream.port, faults=[SLOW]) as tap, tap.dial() as near, upstream.accept() as far:
        for number in range(50):
            near.sendall(encode_text(f"{number:02d}"))
        # All of them were read at once: fifty delays one after another would be seven seconds.
        until(lambda: len(tap.kinds()) == 51)
        read(far, len(HELLO) + 300)
        assert time.monotonic_ns() - tap.recorder.of("151")[-1].at_ns < 10 * DELAY_MS * 1e6


def test_the_end_of_a_delayed_stream_comes_after_its_last_frame(upstream: Upstream) -> None:
    with (
        tapped(upstream.port, faults=[SLOW]) as tap,
        tap.dial(HELLO + encode_text("last")) as near,
        upstream.accept() as far,
    ):
        near.shutdown(socket.SHUT_WR)
        assert read_to_the_end(far) == HELLO + encode_text("last")


def test_answers_are_not_delayed(upstream: Upstream) -> None:
    with tapped(upstream.port, faults=[VERY_SLOW]) as tap, tap.dial() as near, upstream.accept() as far:
        far.sendall(b"now")
        assert read(near, 3) == b"now"


# --- closing


def sockets_open() -> int:
    """How many sockets this process holds, beside those that hold port numbers for its tests."""
    count = -holding_sockets()
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            count += str(entry.readlink()).startswith("socket:")
    return count


def idle(near: socket.socket, far: socket.socket) -> None:
    read(far, len(HELLO))


def over(near: socket.socket, far: socket.socket) -> None:
    near.shutdown(socket.SHUT_WR)
    far.shutdown(socket.SHUT_WR)


def source_reset(near: socket.socket, far: socket.socket) -> None:
    reset(near)


def target_ended(near: socket.socket, far: socket.socket) -> None:
    far.shutdown(socket.SHUT_WR)
    read_to_the_end(near)


def target_does_not_read(near: socket.socket, far: socket.socket) -> None:
    near.settimeout(0.2)
    with contextlib.suppress(TimeoutError):
        near.sendall(encode_text("x" * 8_000_000))


def source_does_not_read(near: socket.socket, far: socket.socket) -> None:
    far.settimeout(0.2)
    with contextlib.suppress(TimeoutError):
        far.sendall(b"x" * 16_000_000)


@pytest.mark.parametrize("state", [idle, over, source_reset, target_ended, target_does_not_read, source_does_not_read])
@pytest.mark.parametrize("faults", [[], [VERY_SLOW]], ids=["", "delayed"])
def test_closing_leaves_no_thread_and_no_socket(state, faults, upstream: Upstream) -> None:
    threads, sockets = threading.active_count(), sockets_open()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        with contextlib.ExitStack() as ending:
            with tapped(upstream.port, faults=faults) as tap:
                near = ending.enter_context(tap.dial())
                far = ending.enter_context(upstream.accept())
                if not (faults and state is idle):
                    state(near, far)
            # Nothing of the tap is left while its two peers are still there.
            assert threading.active_count() == threads
            mine = sum(connection.fileno() >= 0 for connection in (near, far))
            assert sockets_open() == sockets + mine
            if state is idle:
                near.settimeout(PATIENCE_S)
                assert near.recv(1) == b""


def test_a_finished_connection_is_let_go_while_the_tap_lives_on(upstream: Upstream) -> None:
    with tapped(upstream.port) as tap:
        threads, sockets = threading.active_count(), sockets_open()
        for _ in range(20):
            with tap.dial() as near, upstream.accept() as far:
                over(near, far)
                read_to_the_end(near)
                read_to_the_end(far)
        until(lambda: threading.active_count() == threads)
        until(lambda: sockets_open() == sockets)
