"""Calls and sockets: REGISTER in, audio from the caller, text frames to llama.

Three threads serve a call. The reader takes the caller's audio and never waits for anything else, so that endpointing
keeps its clock. The worker transcribes, one pass after the other. The watcher notices when llama goes.
"""

from __future__ import annotations

import queue
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, cast

import numpy as np

from pytest_voiceloop.wire import frames
from voiceloop_services import links, runtime
from voiceloop_services.whisper import endpointing

if TYPE_CHECKING:
    import argparse
    import logging

    from numpy.typing import NDArray

    from voiceloop_services.whisper.engines import Transcriber

BULK_AHEAD_S = 0.5
"""Audio that is so much ahead of the wall clock comes from a file, not from a caller."""
LIVE_PACE = 1.1
"""A caller speaks no faster than this times the wall clock over PACE_LOOK_S; what comes from a file does."""
PACE_LOOK_S = 1.0
LONGEST_LIVE_FRAME_S = 1.0
"""The first frame was recorded before it was sent; a longer one comes from a file."""
BULK_QUIET_S = 1.0
"""Bulk audio is transcribed in one go at BYE, or when nothing has come for so long."""
LONGEST_JOINED_S = 14.0
"""Utterances of bulk audio are joined up to this length: one pass through whisper is cheaper than two."""
LONGEST_GAP_S = 0.5
HANG_UP_QUIET_S = 0.2
HANG_UP_LIMIT_S = 2.0
"""A BYE datagram may overtake the audio and the BYE in it; it counts once the audio has dried up."""


class Whisper:
    """The service: a registry of calls."""

    def __init__(self, options: argparse.Namespace, engine: Transcriber, log: logging.Logger) -> None:
        self._options = options
        self._engine = engine
        self._log = log
        self._calls: dict[str, Call] = {}
        self._lock = threading.Lock()

    def facts(self) -> dict[str, object]:
        """The engine's facts, with the endpointing's settings among its own."""
        facts = self._engine.facts()
        rules = {
            "endpoint_silence_ms": self._options.endpoint_silence_ms,
            "endpoint_silence_unfinished_ms": self._options.endpoint_silence_unfinished_ms,
            "early_silence_ms": self._options.early_silence_ms,
            "control": self._options.control,
        }
        return {**facts, "settings": {**cast("dict[str, object]", facts["settings"]), **rules}}

    def serve(self, bound: socket.socket) -> NoReturn:
        """Answer REGISTER and BYE on a bound datagram socket."""
        for datagram, sender in runtime.receive_datagrams(bound, self._log):
            if datagram.verb == "REGISTER":
                self._register(datagram.call_id, sender)
            elif datagram.verb == "BYE":
                self._bye(datagram.call_id)
        raise AssertionError("datagrams never end")

    def _register(self, call_id: str, sender: runtime.Address) -> None:
        if call_id not in self._options.calls:
            self._log.warning("call %s: refused, it is none of --calls (REGISTER from %s:%d)", call_id, *sender)
            return
        with self._lock:
            if call_id in self._calls:
                self._log.debug("call %s: REGISTER repeated by %s:%d", call_id, *sender)
                return
            call = self._calls[call_id] = Call(call_id, self._options, self._engine, self._log)
        self._log.info("call %s: registered by %s:%d", call_id, *sender)
        try:
            runtime.start(self._serve_call, call, name=f"call-{call_id}")
        except OSError as error:
            self._forget(call)
            self._log.warning("call %s: REGISTER from %s:%d counts for nothing: %s", call_id, *sender, error)

    def _bye(self, call_id: str) -> None:
        with self._lock:
            call = self._calls.get(call_id)
        # One thread, however often BYE is said.
        if call is None or call.hanging_up:
            return
        call.hanging_up = True
        try:
            runtime.start(call.hang_up, name=f"hang-up-{call_id}")
        except OSError as error:
            call.hanging_up = False
            self._log.warning("call %s: BYE counts for nothing: %s", call_id, error)

    def _serve_call(self, call: Call) -> None:
        try:
            call.run()
        finally:
            self._forget(call)

    def _forget(self, call: Call) -> None:
        with self._lock:
            del self._calls[call.call_id]


@dataclass
class Pass:
    """One transcription of one utterance, and what has become of it."""

    speech: endpointing.Speech
    index: int
    early: bool = False
    bulk: bool = False
    text: str | None = None
    sent: bool = False
    final: bool = False
    dropped: bool = False


class Call:
    """One call, from REGISTER to BYE."""

    def __init__(self, call_id: str, options: argparse.Namespace, engine: Transcriber, log: logging.Logger) -> None:
        self.call_id = call_id
        self.hanging_up = False
        self._caller_at = (options.caller[0], options.caller[1] + int(call_id))
        self._llama_at = options.llama
        self._control = options.control
        self._engine = engine
        self._log = log
        self._detector = engine.detector()
        self._rest = np.empty(0, dtype=np.float32)
        self._endpointer = endpointing.Endpointer(
            endpointing.Rules(
                options.endpoint_silence_ms, options.endpoint_silence_unfinished_ms, options.early_silence_ms
            )
        )
        # The lock covers the endpointer, the passes and the order of frames to llama.
        self._lock = threading.RLock()
        self._latest: Pass | None = None
        self._utterances = 0
        self._passes: queue.Queue[Pass | None] = queue.Queue()
        self._over = threading.Event()
        self._heard_all = threading.Event()
        self._first_s = self._heard_s = 0.0
        # Wall clock, and seconds of audio heard by then, when the pace was last looked at.
        self._paced = (0.0, 0.0)
        self._caller: socket.socket | None = None
        self._llama: socket.socket | None = None

    def run(self) -> None:
        """Serve the call until its last word has been passed on, or it broke."""
        try:
            self._caller = links.connect_patiently(self._caller_at, "the caller", self._over, self._log, self.call_id)
            self._say("connected to the caller at %s:%d", *self._caller_at)
            self._serve(self._caller)
        except frames.WireError as error:
            self._complain("closed the connection to the caller at %s:%d: %s", *self._caller_at, error)
        except OSError as error:
            if not self._over.is_set():
                self._complain("broke off, caller at %s:%d: %s", *self._caller_at, error)
        finally:
            self._end()
            self._say("over after %.2f s of audio", self._endpointer.clock_s)

    def hang_up(self) -> None:
        """The caller is gone (BYE datagram): discard what is left, unless a BYE in the audio says to finish it."""
        deadline_s = time.monotonic() + HANG_UP_LIMIT_S
        while not self._heard_all.wait(HANG_UP_QUIET_S):
            now_s = time.monotonic()
            if now_s > deadline_s or now_s - self._heard_s > HANG_UP_QUIET_S:
                self._say("the caller hung up")
                self._end()
                return

    def _end(self) -> None:
        """Stop without a word more; wakes the reader and the worker."""
        self._over.set()
        self._heard_all.set()
        self._passes.put(None)
        for connection in (self._caller, self._llama):
            if connection:
                links.close(connection)

    def _serve(self, caller: socket.socket) -> None:
        if self._over.is_set():
            return  # hung up while this was being connected; _end saw no connection yet
        received = runtime.read_frames(caller, frames.Layout.AUDIO_IN)
        hello = next(received, None)
        if hello is None:
            raise ConnectionError("the caller closed the connection before HELLO")
        if hello.text != self.call_id:
            self._complain("refused: HELLO on %s:%d is for call %s", *self._caller_at, hello.text)
            return
        greeted_s = time.monotonic()
        self._llama = links.connect_patiently(self._llama_at, "llama", self._over, self._log, self.call_id)
        self._llama.sendall(frames.encode_hello(self.call_id))
        links.watch(self._llama, self._lost_llama)
        self._say("connected to llama at %s:%d", *self._llama_at)
        if _has_come(caller):
            self._first_s = greeted_s  # the caller did not wait for llama: late audio is not a recording
        worker = runtime.start(self._work, name=f"worker-{self.call_id}")
        for frame in received:
            if frame.kind == "bye":
                break
            runtime.stamp(self.call_id, "received")
            self._hear(frame.samples)
            self._keep_pace()
        else:
            raise ConnectionError("the caller closed the connection without BYE")
        self._hear_the_rest()
        self._heard_all.set()
        self._passes.put(None)
        worker.join()

    # The reader's side.

    def _hear(self, samples: NDArray[np.float32]) -> None:
        self._heard_s = time.monotonic()
        if not self._first_s:
            self._first_s = self._heard_s - min(len(samples) / frames.AUDIO_IN_HZ, LONGEST_LIVE_FRAME_S)
        size = self._detector.window_samples
        heard = np.concatenate((self._rest, runtime.sound(samples)))
        whole = len(heard) - len(heard) % size
        for at in range(0, whole, size):
            window = heard[at : at + size]
            probability = self._detector.probability(window)
            with self._lock:
                self._on(self._endpointer.push(window, probability, early=not self._is_bulk()))
        self._rest = heard[whole:]

    def _keep_pace(self) -> None:
        """A caller whose sound was held up on its way is ahead of the clock from then on, and still a caller."""
        looked_s, heard_s = self._paced
        clock_s = self._endpointer.clock_s
        if self._heard_s - looked_s < PACE_LOOK_S:
            return
        if looked_s and clock_s - heard_s <= LIVE_PACE * (self._heard_s - looked_s) and self._is_bulk():
            self._first_s = self._heard_s - clock_s
        self._paced = self._heard_s, clock_s

    def _hear_the_rest(self) -> None:
        if len(self._rest):
            self._hear(np.zeros(self._detector.window_samples - len(self._rest), dtype=np.float32))
        with self._lock:
            self._on(self._endpointer.finish())

    def _is_bulk(self) -> bool:
        return self._endpointer.clock_s - (self._heard_s - self._first_s) > BULK_AHEAD_S

    def _on(self, event: endpointing.Event | None) -> None:
        if event is None:
            return
        latest = self._latest
        if event.kind is endpointing.Kind.RESUMED:
            assert latest
            self._take_back(latest)
            self._latest = None
            return
        assert event.speech
        if event.kind is endpointing.Kind.PAUSED:
            self._endpointer.needed_ms = None
            self._latest = Pass(event.speech, self._utterances, early=True)
            self._passes.put(self._latest)
            return
        confirmed = ", early transcript confirmed" if latest and latest.text else ""
        self._say("speech %.2f-%.2f s%s", event.speech.start_s, event.speech.end_s, confirmed)
        if latest is None:
            latest = Pass(event.speech, self._utterances, bulk=self._is_bulk())
            self._passes.put(latest)
        latest.final = True
        self._latest = None
        self._utterances += 1
        self._pass_on(latest)

    def _take_back(self, early: Pass) -> None:
        early.dropped = True
        if early.sent:
            self._say("speech goes on, took the early transcript back")
            self._send(frames.encode_control("cancel", frames.Layout.TEXT))

    # The worker's side.

    def _work(self) -> None:
        try:
            self._transcribe_all()
        except Exception:  # what one call throws must not end the service; without a worker the call is mute
            self._log.exception("call %s: transcription failed", self.call_id)
            self._end()

    def _transcribe_all(self) -> None:
        while (next_pass := self._next_pass()) is not None:
            if next_pass.dropped:
                continue
            started_s = time.monotonic()
            heard = self._engine.transcribe(next_pass.speech.samples, next_pass.index)
            text = heard.text
            runtime.count(self.call_id, encoder_frames=heard.encoder_frames, tokens=heard.tokens, passes=1)
            took_ms = (time.monotonic() - started_s) * 1000
            if self._over.is_set():
                return
            with self._lock:
                next_pass.text = text
                kind = "dropped" if next_pass.dropped else "final" if next_pass.final else "early"
                self._say('transcript (%s) "%s" in %.0f ms', kind, text, took_ms)
                if next_pass.dropped:
                    continue
                if not next_pass.final:
                    rules = self._endpointer.rules
                    unfinished = endpointing.looks_unfinished(text)
                    self._endpointer.needed_ms = rules.unfinished_ms if unfinished else rules.silence_ms
                self._pass_on(next_pass)
                if not next_pass.final:
                    self._on(self._endpointer.check())
        if not self._over.is_set():
            self._over.set()
            self._send(frames.encode_control("bye", frames.Layout.TEXT))
            self._say("passed BYE on to llama")

    def _next_pass(self) -> Pass | None:
        first = self._passes.get()
        if first is None or not first.bulk:
            return first
        # Who turns out to be a caller who was held up goes on and on, and says neither BYE nor nothing.
        while self._is_bulk() and not self._heard_all.is_set():
            quiet_s = time.monotonic() - self._heard_s
            if quiet_s >= BULK_QUIET_S:
                break
            self._heard_all.wait(BULK_QUIET_S - quiet_s)
        joined = first
        while True:
            with self._passes.mutex:
                following = self._passes.queue[0] if self._passes.queue else None
            if following is None or not following.bulk or _joined_s(joined, following) > LONGEST_JOINED_S:
                return joined
            self._passes.get()
            joined = _join(joined, following)

    def _pass_on(self, done: Pass) -> None:
        """Send what may be sent of a pass: its text when it is final or can be taken back, END when it is final."""
        if not done.text or self._over.is_set():
            return
        if not done.sent and (done.final or self._control):
            self._send(frames.encode_text(done.text))
            done.sent = True
        if done.final and self._control:
            self._send(frames.encode_control("end", frames.Layout.TEXT))

    def _send(self, data: bytes) -> None:
        assert self._llama
        try:
            runtime.stamp(self.call_id, "sent")
            self._llama.sendall(data)
        except OSError:
            self._lost_llama()

    def _lost_llama(self) -> None:
        if not self._over.is_set():
            self._complain("llama at %s:%d closed the connection in mid-call", *self._llama_at)
            self._end()

    def _say(self, message: str, *values: object) -> None:
        self._log.info("call %s: " + message, self.call_id, *values)

    def _complain(self, message: str, *values: object) -> None:
        self._log.error("call %s: " + message, self.call_id, *values)


def _has_come(connection: socket.socket) -> bool:
    """Whether something is there to be read. Raises OSError where another thread has closed the connection."""
    try:
        return bool(connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return False


def _joined_s(first: Pass, second: Pass) -> float:
    return second.speech.end_s - first.speech.start_s


def _join(first: Pass, second: Pass) -> Pass:
    """Two utterances as one, with the silence between them shortened."""
    gap_s = max(0.0, min(second.speech.start_s - first.speech.end_s, LONGEST_GAP_S))
    gap = np.zeros(int(gap_s * frames.AUDIO_IN_HZ), dtype=np.float32)
    samples = np.concatenate((first.speech.samples, gap, second.speech.samples))
    return Pass(
        endpointing.Speech(samples, first.speech.start_s, second.speech.end_s), first.index, bulk=True, final=True
    )
