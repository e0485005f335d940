"""Each fault on a link does what it says to the bytes that pass a tap, and the tap itself stays whole."""

import contextlib
import socket
import time
from collections.abc import Iterator

import numpy as np
import pytest
from tapped import AUDIO, HELLO, PATIENCE_S, TEXT, Tapped, Upstream, is_reset, read, read_to_the_end, tapped, until

from pytest_voiceloop.call.faults import Fault, fault
from pytest_voiceloop.stack.spec import HOST, Link
from pytest_voiceloop.wire.frames import Layout, encode_audio_out, encode_control, encode_text

ONE, TWO, THREE = (encode_text(text) for text in ("one", "the second", "three"))
END = encode_control("end", Layout.TEXT)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    made = Upstream()
    with made.listener:
        yield made


@contextlib.contextmanager
def struck(
    upstream: Upstream, *faults: Fault, link: Link = TEXT
) -> Iterator[tuple[Tapped, socket.socket, socket.socket]]:
    with tapped(upstream.port, link, faults=faults) as tap, tap.dial() as near, upstream.accept() as far:
        read(far, len(HELLO))
        yield tap, near, far


def texts(tap: Tapped) -> list[str]:
    return [crossing.text for crossing in tap.recorder.of("151") if crossing.kind == "text"]


@pytest.mark.parametrize("cut", [1, 5, 10_000])
def test_a_dropped_item_is_missing_and_has_not_crossed(cut: int, upstream: Upstream) -> None:
    sent = ONE + TWO + THREE + END
    with struck(upstream, fault("drop", "stt_llm", item=2)) as (tap, near, far):
        for start in range(0, len(sent), cut):
            near.sendall(sent[start : start + cut])
        assert read(far, len(ONE + THREE + END)) == ONE + THREE + END
        until(lambda: "end" in tap.kinds())
        assert texts(tap) == ["one", "three"]


def test_several_items_are_dropped(upstream: Upstream) -> None:
    with struck(upstream, fault("drop", "stt_llm", items=2)) as (_, near, far):
        near.sendall(ONE + TWO + THREE)
        assert read(far, len(THREE)) == THREE


def test_dropped_bytes_are_those_of_the_seed(upstream: Upstream) -> None:
    got = []
    for seed in (1, 1, 2):
        with struck(upstream, fault("drop", "stt_llm", bytes=3, seed=seed)) as (_, near, far):
            near.sendall(TWO)
            near.shutdown(socket.SHUT_WR)
            got.append(read_to_the_end(far))
    assert [len(one) for one in got] == [len(TWO) - 3] * 3
    assert got[0] == got[1] != got[2]


def test_corrupted_bytes_are_those_of_the_seed(upstream: Upstream) -> None:
    got = []
    for seed in (1, 1, 2):
        with struck(upstream, fault("corrupt", "stt_llm", item=2, bytes=4, seed=seed)) as (_, near, far):
            near.sendall(ONE + TWO + THREE)
            got.append(read(far, len(ONE + TWO + THREE)))
    assert got[0] == got[1] != got[2]
    sent = ONE + TWO + THREE
    wrong = [place for place, byte in enumerate(got[0]) if byte != sent[place]]
    assert len(wrong) == 4
    assert len(ONE) <= wrong[0] <= wrong[-1] < len(ONE + TWO)


def test_a_truncated_item_ends_the_connection_in_the_middle_of_its_frame(upstream: Upstream) -> None:
    with struck(upstream, fault("truncate", "stt_llm", item=2)) as (tap, near, far):
        near.sendall(ONE + TWO)
        assert read_to_the_end(far) == ONE + TWO[: len(TWO) // 2]
        assert read_to_the_end(near) == b""
        until(lambda: texts(tap) == ["one"])


def test_a_half_closed_stream_ends_and_the_other_goes_on(upstream: Upstream) -> None:
    with struck(upstream, fault("half_close", "stt_llm", item=2)) as (tap, near, far):
        near.sendall(ONE + TWO + THREE)
        assert read_to_the_end(far) == ONE
        far.sendall(b"are you there?")
        assert read(near, 14) == b"are you there?"
        until(lambda: texts(tap) == ["one"])


def test_a_reset_is_seen_by_both_ends(upstream: Upstream) -> None:
    with struck(upstream, fault("reset", "stt_llm", item=2)) as (tap, near, far):
        near.sendall(ONE)
        read(far, len(ONE))
        near.sendall(TWO)
        assert is_reset(near)
        assert is_reset(far)
        assert texts(tap) == ["one"]


def test_a_stall_holds_everything_for_so_long_and_keeps_the_order(upstream: Upstream) -> None:
    with struck(upstream, fault("stall", "stt_llm", item=2, duration="400ms")) as (tap, near, far):
        near.sendall(ONE)
        assert read(far, len(ONE)) == ONE
        began = time.monotonic()
        near.sendall(TWO + THREE)
        assert read(far, len(TWO + THREE)) == TWO + THREE
        assert time.monotonic() - began >= 0.4
        # They are stamped when they came, not when they went on.
        stamps = [crossing.at_ns for crossing in tap.recorder.of("151") if crossing.kind == "text"]
        assert stamps[2] - stamps[1] < 0.4e9


def test_jitter_keeps_the_order_and_the_end(upstream: Upstream) -> None:
    sent = b"".join(encode_text(f"{number:02d}") for number in range(30))
    with struck(upstream, fault("jitter", "stt_llm", duration="30ms", seed=5)) as (_, near, far):
        for start in range(0, len(sent), 6):
            near.sendall(sent[start : start + 6])
        near.shutdown(socket.SHUT_WR)
        assert read_to_the_end(far) == sent


@pytest.mark.parametrize(
    ("ending", "arrives"),
    [("truncate", ONE + TWO[: len(TWO) // 2]), ("half_close", ONE)],
)
def test_what_a_delay_holds_back_goes_before_the_fault_that_ends_the_stream(
    ending: str, arrives: bytes, upstream: Upstream
) -> None:
    faults = (fault("delay", "stt_llm", duration="200ms"), fault(ending, "stt_llm", item=2))
    with struck(upstream, *faults) as (tap, near, far):
        began = time.monotonic()
        near.sendall(ONE + TWO + THREE)
        assert read_to_the_end(far) == arrives
        assert time.monotonic() - began >= 0.2
        until(lambda: texts(tap) == ["one"])


def test_a_reset_waits_for_the_delay_too(upstream: Upstream) -> None:
    faults = (fault("delay", "stt_llm", duration="200ms"), fault("reset", "stt_llm", item=2))
    with struck(upstream, *faults) as (_, near, far):
        near.sendall(ONE)
        assert read(far, len(ONE)) == ONE
        began = time.monotonic()
        near.sendall(TWO)
        assert is_reset(far)
        assert time.monotonic() - began >= 0.2


def test_the_order_of_a_delay_and_the_fault_that_ends_the_stream_does_not_matter(upstream: Upstream) -> None:
    faults = (fault("half_close", "stt_llm", item=2), fault("delay", "stt_llm", duration="200ms"))
    with struck(upstream, *faults) as (_, near, far):
        near.sendall(ONE + TWO + THREE)
        assert read_to_the_end(far) == ONE
        far.sendall(b"are you there?")
        assert read(near, 14) == b"are you there?"


def test_an_item_of_audio_is_one_frame_however_large(upstream: Upstream) -> None:
    frames = [encode_audio_out(np.full(50_000, number / 4, np.float32), 24_000, number) for number in (1, 2, 3)]
    with struck(upstream, fault("drop", "tts_out", item=2), link=AUDIO) as (tap, near, far):
        near.sendall(b"".join(frames))
        assert read(far, 2 * len(frames[0])) == frames[0] + frames[2]
        until(lambda: tap.kinds() == ["hello", "audio", "audio"])


def test_faults_that_strike_one_after_the_other_do_not_hide_each_other(upstream: Upstream) -> None:
    faults = (fault("drop", "stt_llm"), fault("reset", "stt_llm", item=3))
    with struck(upstream, *faults) as (_, near, far):
        near.sendall(ONE + TWO)
        assert read(far, len(TWO)) == TWO
        near.sendall(THREE)
        assert is_reset(near)


CHAT = Link("llm_tts", "agent", "brain", "listen", "openai-chat")
QUESTION = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
BODY = b'{"choices": [{"message": {"content": "Certainly."}}]}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)


def test_an_answer_is_struck_on_its_way_back(upstream: Upstream) -> None:
    one = fault("truncate", "llm_tts")
    with tapped(upstream.port, CHAT, faults=[one]) as tap, tap.dial(QUESTION) as near, upstream.accept() as far:
        assert read(far, len(QUESTION)) == QUESTION
        far.sendall(ANSWER)
        assert read_to_the_end(near) == ANSWER[: len(ANSWER) // 2]
        assert tap.recorder.of("") == []


def test_an_answer_of_http_is_held_back_after_its_stamp(upstream: Upstream) -> None:
    one = fault("delay", "llm_tts", duration="200ms")
    with tapped(upstream.port, CHAT, faults=[one]) as tap, tap.dial(QUESTION) as near, upstream.accept() as far:
        read(far, len(QUESTION))
        far.sendall(ANSWER)
        assert read(near, len(ANSWER)) == ANSWER
        arrived = time.monotonic_ns()
        text = next(crossing for crossing in tap.recorder.of("") if crossing.kind == "text")
        assert arrived - text.at_ns >= 200e6


def test_what_struck_is_told_with_its_time(upstream: Upstream) -> None:
    before = time.monotonic_ns()
    with struck(upstream, fault("drop", "stt_llm"), fault("drop", "stt_llm", item=9)) as (tap, near, far):
        near.sendall(ONE + TWO)
        read(far, len(TWO))
        assert tap.in_force is not None
        (record,) = tap.in_force.records(before)
    assert (record["kind"], record["link"], record["into"]) == ("drop", "stt_llm", "brain")
    assert record["line"] == 'fault("drop", "stt_llm", seed=0)'
    assert 0 <= record["at_ms"] <= (time.monotonic_ns() - before) / 1e6


# --- a target that is down


def dial(port: int) -> socket.socket:
    return socket.create_connection((HOST, port), timeout=PATIENCE_S)


def test_a_tap_listens_only_while_its_target_is_up(upstream: Upstream) -> None:
    up = {"brain": False}
    with tapped(upstream.port, is_up=up.__getitem__) as tap:
        with pytest.raises(ConnectionRefusedError):
            dial(tap.port)
        up["brain"] = True

        def connected() -> bool:
            with contextlib.suppress(ConnectionRefusedError), tap.dial(), upstream.accept() as far:
                return read(far, len(HELLO)) == HELLO
            return False

        until(connected)
        up["brain"] = False

        def refused() -> bool:
            # A reset is what one sees who knocks while the door is being shut.
            with contextlib.suppress(ConnectionResetError):
                try:
                    dial(tap.port).close()
                except ConnectionRefusedError:
                    return True
            return False

        until(refused)


def test_nobody_is_let_in_whose_target_went_down_just_before(upstream: Upstream) -> None:
    up = {"brain": True}
    with tapped(upstream.port, is_up=up.__getitem__) as tap:
        up["brain"] = False
        with contextlib.suppress(ConnectionRefusedError, ConnectionResetError), dial(tap.port) as near:
            near.sendall(HELLO)
            assert is_reset(near)
        assert tap.kinds() == []


def test_a_call_that_is_under_way_keeps_its_connection_when_the_tap_stops_listening(upstream: Upstream) -> None:
    up = {"brain": True}
    with tapped(upstream.port, is_up=up.__getitem__) as tap, tap.dial() as near, upstream.accept() as far:
        read(far, len(HELLO))
        up["brain"] = False

        def refused() -> bool:
            with contextlib.suppress(OSError):
                dial(tap.port).close()
                return False
            return True

        until(refused)
        near.sendall(ONE)
        assert read(far, len(ONE)) == ONE
