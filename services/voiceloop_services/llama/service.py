"""Calls and sockets: a connection from whisper per call, a connection to kokoro per call.

Two threads serve a call. The reader takes frames from whisper; the worker writes replies, one after the other, and
begins with a text that is not confirmed yet: END confirms it, CANCEL stops the work on it.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from pytest_voiceloop.wire import frames
from voiceloop_services import links, runtime
from voiceloop_services.llama.clauses import clauses

if TYPE_CHECKING:
    import argparse
    import logging
    import socket
    from collections.abc import Iterable, Iterator

    from voiceloop_services.llama.engines import Writer
    from voiceloop_services.llama.prompt import Exchange


LONGEST_SAID = 4000
"""Characters of an utterance that are answered; a wire that floods llama with text is not."""


class Llama:
    """The service: accepts calls."""

    def __init__(self, options: argparse.Namespace, engine: Writer, log: logging.Logger) -> None:
        self._options = options
        self._engine = engine
        self._log = log

    def serve(self, listener: socket.socket) -> NoReturn:
        """Accept connections from whisper for ever."""

        def serve_call(connection: socket.socket, peer: runtime.Address) -> None:
            Call(connection, peer, self._options, self._engine, self._log).run()

        runtime.serve_connections(listener, serve_call, self._log, name="call")


@dataclass(eq=False)
class Utterance:
    """What the caller said, and how far it is with it."""

    said: str
    confirmed: bool = False
    cancelled: bool = False
    decided: threading.Event = field(default_factory=threading.Event)

    def confirm(self) -> None:
        """The transcript is final."""
        self.confirmed = True
        self.decided.set()

    def cancel(self) -> None:
        """The transcript is taken back."""
        self.cancelled = True
        self.decided.set()


class Call:
    """One call, from HELLO to BYE."""

    def __init__(
        self,
        whisper: socket.socket,
        peer: runtime.Address,
        options: argparse.Namespace,
        engine: Writer,
        log: logging.Logger,
    ) -> None:
        self._call_id = "?"
        self._whisper = whisper
        self._peer = peer
        self._options = options
        self._engine = engine
        self._log = log
        self._kokoro: socket.socket | None = None
        self._over = threading.Event()
        self._utterances: queue.Queue[Utterance | None] = queue.Queue()
        self._latest: Utterance | None = None
        self._history: list[Exchange] = []

    def run(self) -> None:
        """Serve the call until its last reply has been passed on, or it broke."""
        try:
            self._serve()
        except frames.WireError as error:
            self._complain("closed the connection from %s:%d: %s", *self._peer, error)
        except OSError as error:
            if not self._over.is_set():
                self._complain("broke off, connection from %s:%d: %s", *self._peer, error)
        finally:
            self._end()
            self._say("over after %d replies", len(self._history))

    def _end(self) -> None:
        """Stop without a word more; wakes the reader and the worker."""
        self._over.set()
        if self._latest:
            self._latest.cancel()
        self._utterances.put(None)
        links.close(self._whisper)
        if self._kokoro:
            links.close(self._kokoro)

    # The reader's side.

    def _serve(self) -> None:
        received = runtime.read_frames(self._whisper, frames.Layout.TEXT)
        hello = next(received, None)
        if hello is None:
            raise ConnectionError("whisper closed the connection before HELLO")
        self._call_id = hello.text
        if hello.text not in self._options.calls:
            self._log.warning("call %s: refused, it is none of --calls (HELLO from %s:%d)", hello.text, *self._peer)
            return
        self._say("connected from %s:%d", *self._peer)
        to = self._options.kokoro
        self._kokoro = links.connect_patiently(to, "kokoro", self._over, self._log, hello.text)
        self._kokoro.sendall(frames.encode_hello(hello.text))
        links.watch(self._kokoro, self._lost_kokoro)
        self._say("connected to kokoro at %s:%d", *to)
        worker = runtime.start(self._work, name=f"worker-{hello.text}")
        for frame in received:
            if frame.kind == "bye":
                break
            runtime.stamp(self._call_id, "received")
            self._take(frame)
        else:
            raise ConnectionError("whisper closed the connection without BYE")
        self._confirm()
        self._utterances.put(None)
        worker.join()

    def _take(self, frame: frames.Frame) -> None:
        if frame.kind == "end":
            self._confirm()
        elif frame.kind == "cancel":
            self._cancel()
        elif said := frame.text.strip():
            if self._latest:
                # More words for an utterance that is being answered already: the answer has to know them all.
                said = f"{self._latest.said} {said}"
                self._cancel()
            if len(said) > LONGEST_SAID:
                self._complain("only the end of what was said is answered: %d characters are too many", len(said))
                said = said[-LONGEST_SAID:]
            self._say('heard "%s"', said)
            self._latest = Utterance(said)
            self._utterances.put(self._latest)
            if not self._options.control:
                self._confirm()

    def _confirm(self) -> None:
        if self._latest:
            self._latest.confirm()
            self._latest = None

    def _cancel(self) -> None:
        if self._latest:
            self._say("transcript taken back")
            self._latest.cancel()
            self._latest = None

    # The worker's side.

    def _work(self) -> None:
        try:
            while (utterance := self._utterances.get()) is not None:
                self._answer(utterance)
            if not self._over.is_set():
                self._over.set()
                self._send(frames.encode_control("bye", frames.Layout.TEXT))
                self._say("passed BYE on to kokoro")
        except Exception:  # what one call throws must not end the service; without a worker the call is mute
            self._log.exception("call %s: answering failed", self._call_id)
            self._end()

    def _answer(self, utterance: Utterance) -> None:
        def stopped() -> bool:
            return utterance.cancelled or self._over.is_set()

        started_s = time.monotonic()
        sent: list[str] = []
        tokens = 0

        def counted(pieces: Iterable[str]) -> Iterator[str]:
            nonlocal tokens
            for piece in pieces:
                tokens += 1
                yield piece

        with contextlib.closing(
            self._engine.reply(self._history, utterance.said, stopped, lambda: bool(sent))
        ) as pieces:
            for clause in clauses(counted(pieces), brief=self._engine.brief):
                if stopped():
                    break
                self._send(frames.encode_text(clause))
                sent.append(clause)
                self._say('clause "%s" after %.0f ms', clause, (time.monotonic() - started_s) * 1000)
        took_ms = (time.monotonic() - started_s) * 1000
        runtime.count(self._call_id, tokens=tokens)
        utterance.decided.wait()
        if stopped():
            if sent and not self._over.is_set():
                self._send(frames.encode_control("cancel", frames.Layout.TEXT))
            return
        reply = " ".join(sent)
        if not reply:
            self._complain('no reply to "%s"', utterance.said)
        if self._options.control:
            self._send(frames.encode_control("end", frames.Layout.TEXT))
        if reply:
            self._history.append((utterance.said, reply))
            self._say('reply "%s" in %.0f ms', reply, took_ms)

    def _send(self, data: bytes) -> None:
        assert self._kokoro
        try:
            runtime.stamp(self._call_id, "sent")
            self._kokoro.sendall(data)
        except OSError:
            self._lost_kokoro()

    def _lost_kokoro(self) -> None:
        if not self._over.is_set():
            self._complain("kokoro at %s:%d closed the connection in mid-call", *self._options.kokoro)
            self._end()

    def _say(self, message: str, *values: object) -> None:
        self._log.info("call %s: " + message, self._call_id, *values)

    def _complain(self, message: str, *values: object) -> None:
        self._log.error("call %s: " + message, self._call_id, *values)
