"""The kokoro service: text from llama is spoken by one speaker for all calls, and goes to outbound as audio."""

from __future__ import annotations

import contextlib
import math
import socket
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, NoReturn

from pytest_voiceloop.wire import frames
from voiceloop_services import runtime
from voiceloop_services.kokoro import engines, sound
from voiceloop_services.kokoro.calls import CallQueue, Clause, Mark
from voiceloop_services.kokoro.outbound_link import OutboundLink

if TYPE_CHECKING:
    import argparse
    import logging
    from collections.abc import Callable


def serve(options: argparse.Namespace, log: logging.Logger) -> NoReturn:
    """Bind, load the engine, warm it up, say so, and serve.

    Raises OSError that names an address it cannot bind, and MissingError for what the engine lacks.
    """
    # Bound first: a port in use is told at once, not after a model has been loaded.
    listener = _bound("--listen", options.listen, runtime.listen_tcp)
    udp = _bound("--register", options.register, runtime.bind_udp)
    speaker = engines.make_speaker(options, log)
    service = Kokoro(options, speaker, log)
    runtime.start(service.read_datagrams, udp, name="datagrams")
    runtime.start(service.speak_forever, name="speaker")
    log.info(
        "calls %s: text on TCP %s:%d, registration on UDP %s:%d, audio to %s:%d + id",
        ", ".join(map(str, options.calls.ids())),
        *options.listen,
        *options.register,
        *options.outbound,
    )
    runtime.announce_ready("kokoro", speaker)
    runtime.serve_connections(listener, service.read_text, log, name="text")


class _Slot:
    """What the service knows of one call id. All but `link` is guarded by the service's lock."""

    def __init__(self, call_id: str, link: OutboundLink, lock: threading.Lock, control: bool) -> None:
        self.call_id = call_id
        self.link = link
        self.queue = CallQueue(control)
        self.changed = threading.Condition(lock)
        self.llama: socket.socket | None = None
        # The llama connection of the call that outbound means. The next call's can come before outbound's BYE for this
        # one: they take different ways.
        self.own: socket.socket | None = None
        # Outbound knows of the call: from REGISTER, or the first audio, until BYE is on its way to it.
        self.known = False
        self.wants_connection = False
        # The connection has been shut down and is to be closed by the thread that sends on it.
        self.hung_up = False
        # Audio of the reply that is being spoken, made so far.
        self.made_s = 0.0
        # Set when the caller hangs up, to end what is under way; a new one is made for the next call.
        self.over = threading.Event()


class Kokoro:
    """The service: one thread per llama connection and per call slot (towards outbound), and one that speaks."""

    def __init__(self, options: argparse.Namespace, speaker: engines.Speaker, log: logging.Logger) -> None:
        self._log = log
        self._control: bool = options.control
        self._speaker = speaker
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        host, base = options.outbound
        self._slots = {
            str(call_id): _Slot(
                str(call_id),
                OutboundLink(str(call_id), (host, base + call_id), log),
                self._lock,
                self._control,
            )
            for call_id in options.calls.ids()
        }
        # Whose clause is spoken next: calls take turns, so a long reply does not silence the others.
        self._turns = deque(self._slots.values())
        for slot in self._slots.values():
            runtime.start(self._feed_outbound, slot, name=f"outbound-{slot.call_id}")

    # Datagrams from outbound.

    def read_datagrams(self, udp: socket.socket) -> None:
        """Obey REGISTER and BYE for ever."""
        for datagram, sender in runtime.receive_datagrams(udp, self._log):
            slot = self._slots.get(datagram.call_id)
            if slot is None:
                self._log.warning(
                    "refused %s:%s from %s:%d: no such call in --calls", datagram.verb, datagram.call_id, *sender
                )
            elif datagram.verb == "REGISTER":
                with self._lock:
                    slot.known = slot.wants_connection = slot.link.may_connect = True
                    slot.own = slot.llama
                    slot.changed.notify()
            elif datagram.verb == "BYE":
                with self._lock:
                    self._bye(slot)
            else:
                self._log.warning("call %s: ignored END from %s:%d", datagram.call_id, *sender)

    def _bye(self, slot: _Slot) -> None:
        if not slot.known:
            # The in-band BYE has been passed on; a next call may have begun, but outbound did not mean that one.
            self._log.debug("call %s: BYE, nothing left to clean up", slot.call_id)
        elif slot.queue.has_bye() and not slot.link.peer_has_closed():
            self._log.info("call %s: BYE, the call is being finished", slot.call_id)
            slot.link.may_connect = False
        else:
            self._log.info("call %s: hung up, %d clauses discarded", slot.call_id, slot.queue.clear())
            if slot.llama is slot.own:
                # What llama still has to say on that connection is read and forgotten.
                slot.llama = None
            slot.own = slot.llama
            slot.known = slot.wants_connection = False
            slot.over.set()
            slot.over = threading.Event()
            slot.link.abort()
            slot.hung_up = True
            slot.changed.notify()

    # Text from llama.

    def read_text(self, connection: socket.socket, address: runtime.Address) -> None:
        """Serve one connection from llama until it ends; whatever comes on it harms no other."""
        peer = f"{address[0]}:{address[1]}"
        slot = None
        try:
            with connection:
                for frame in runtime.read_frames(connection, frames.Layout.TEXT):
                    if frame.kind == "hello":
                        slot = self._greet(connection, peer, frame.text)
                    elif slot is not None:
                        runtime.stamp(slot.call_id, "received")
                        self._take(slot, connection, frame)
                    if slot is None or frame.kind == "bye":
                        return
        except frames.WireError as error:
            self._log.warning("call %s: closed the connection from %s: %s", slot.call_id if slot else "?", peer, error)
        except OSError as error:
            self._log.warning("call %s: lost the connection from %s: %s", slot.call_id if slot else "?", peer, error)
        finally:
            if slot is not None:
                self._llama_gone(slot, connection, peer)

    def _greet(self, connection: socket.socket, peer: str, call_id: str) -> _Slot | None:
        slot = self._slots.get(call_id)
        if slot is None:
            self._log.warning("refused the connection from %s: no call %s in --calls", peer, call_id)
            return None
        with self._lock:
            if slot.llama is not None:
                self._log.warning("call %s: %s replaces the connection that stood", call_id, peer)
                self._drop_unconfirmed(slot)
                with contextlib.suppress(OSError):
                    slot.llama.shutdown(socket.SHUT_RDWR)
            slot.llama = connection
            slot.own = slot.own or connection
            self._log.info("call %s: llama connected from %s", call_id, peer)
        return slot

    def _take(self, slot: _Slot, connection: socket.socket, frame: frames.Frame) -> None:
        with self._lock:
            if slot.llama is not connection:
                self._log.debug("call %s: ignored %s, the call is over", slot.call_id, frame.kind)
            elif frame.kind == "text":
                text = frame.text.strip()
                if text:
                    slot.queue.say(text)
                    self._work.notify()
            elif frame.kind == "bye":
                self._log.info("call %s: BYE from llama", slot.call_id)
                slot.llama = None
                slot.queue.mark("bye")
            elif not self._control:
                self._log.warning("call %s: ignored %s, --no-control is set", slot.call_id, frame.kind.upper())
            elif frame.kind == "end":
                slot.queue.mark("end")
            else:
                self._log.info("call %s: CANCEL, %d clauses discarded", slot.call_id, slot.queue.cancel())
            slot.changed.notify()

    def _llama_gone(self, slot: _Slot, connection: socket.socket, peer: str) -> None:
        with self._lock:
            if slot.llama is not connection:
                return
            slot.llama = None
            self._log.warning("call %s: %s went without BYE", slot.call_id, peer)
            self._drop_unconfirmed(slot)

    def _drop_unconfirmed(self, slot: _Slot) -> None:
        dropped = slot.queue.drop_unconfirmed()
        if dropped:
            self._log.warning("call %s: %d clauses discarded that no END confirmed", slot.call_id, dropped)

    # Speaking.

    def speak_forever(self) -> None:
        """Speak chunk after chunk, the calls taking turns."""
        while True:
            self._speak_next()

    def _speak_next(self) -> None:
        # On its own, so that what it holds in hand while it waits for the next chunk is nothing.
        with self._lock:
            while (job := self._next_job()) is None:
                self._work.wait()
            slot, clause = job
            if clause.opens and clause.making is None:
                slot.made_s = 0.0
        started_s = time.monotonic()
        chunk = self._next_chunk(slot, clause)
        took_s = time.monotonic() - started_s
        made_s = len(chunk.samples) / sound.SAMPLE_RATE_HZ if chunk else 0.0
        # Before the chunk can leave: a harness reads it when the reply has ended.
        runtime.count(slot.call_id, audio_s=made_s)
        with self._lock:
            clause.took_s += took_s
            clause.made_s += made_s
            slot.made_s += made_s
            clause.done = chunk is None or chunk.last
            if chunk and not clause.dropped:
                clause.chunks.append(chunk)
            slot.changed.notify()
        if clause.done or clause.dropped:
            self._log.info(
                "call %s: %r is %.2f s of audio, made in %.2f s%s",
                *(slot.call_id, clause.text, clause.made_s, clause.took_s),
                ", discarded" if clause.dropped else "",
            )

    def _next_job(self) -> tuple[_Slot, Clause] | None:
        for slot in self._turns:
            clause = slot.queue.next_unspoken()
            if clause is not None:
                self._turns.remove(slot)
                self._turns.append(slot)
                return slot, clause
        return None

    def _next_chunk(self, slot: _Slot, clause: Clause) -> sound.Chunk | None:
        """The next sound of a clause; None when it has been spoken."""
        try:
            if clause.making is None:
                # Without END outbound takes a pause between chunks for the end of a reply: a clause is made whole then.
                clause.making = self._speaker.speak(clause.text, slot.made_s if self._control else math.inf)
            return next((chunk for chunk in clause.making if len(chunk.samples)), None)
        except Exception:
            # One text that the engine cannot speak must not silence the other calls.
            self._log.exception("call %s: cannot speak %r", slot.call_id, clause.text)
            return None

    # Audio to outbound.

    def _feed_outbound(self, slot: _Slot) -> None:
        while True:
            with self._lock:
                slot.changed.wait_for(lambda: slot.hung_up or slot.wants_connection or slot.queue.ready())
                if slot.hung_up:
                    slot.hung_up = False
                    slot.link.close()
                    continue
                over = slot.over
                item = None if slot.wants_connection else slot.queue.pop()
                slot.wants_connection = False
                was_known = slot.known
                if isinstance(item, sound.Chunk):
                    slot.known = True
                    self._work.notify()  # what left may have made room
                elif item is not None and item.kind == "bye":
                    # From here on a REGISTER is for the next call, and a BYE datagram only cleans up.
                    slot.known = False
                    slot.own = slot.llama
            if isinstance(item, sound.Chunk):
                if not slot.link.send_audio(item.samples, sound.SAMPLE_RATE_HZ, over):
                    self._give_up(slot, over)
            elif item is not None:
                self._send_mark(slot, item, over, was_known)
            elif not slot.link.connect(over):
                self._give_up(slot, over)

    def _send_mark(self, slot: _Slot, mark: Mark, over: threading.Event, known: bool) -> None:
        # A reply without sound in a call that outbound does not know: there is nobody to tell.
        sent = not (known or slot.link.connected) or slot.link.send_mark(mark.kind, over)
        if not sent:
            self._give_up(slot, over)
        if mark.kind == "bye":
            slot.link.close()
            slot.link.may_connect = True
            self._log.info("call %s: over", slot.call_id)

    def _give_up(self, slot: _Slot, over: threading.Event) -> None:
        slot.link.close()
        with self._lock:
            if slot.over is over:
                dropped = slot.queue.drop_confirmed()
                self._log.error(
                    "call %s: no way to outbound at %s:%d, %d clauses discarded; it is tried again with the next",
                    *(slot.call_id, *slot.link.to, dropped),
                )


def _bound(option: str, at: runtime.Address, make: Callable[[runtime.Address], socket.socket]) -> socket.socket:
    try:
        return make(at)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror} ({option}; choose another port)") from None
