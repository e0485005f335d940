"""What the four services share: the command line, the ready line, the log, sockets that speak frames."""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NoReturn, Protocol

import numpy as np

from pytest_voiceloop.wire import datagrams, frames

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from voiceloop_services.models import Located

EXIT_MISSING = 69
"""BSD's EX_UNAVAILABLE: something that the service needs is not there; the last line says what and the cure."""
RECEIVE_BYTES = 65_536
LONGEST_LINE = 1000
"""Characters of a log line; a text frame of 10 MiB may be quoted in one."""
_STAMPING = threading.Event()
"""Set by --stamps."""
Address = tuple[str, int]


class MissingError(Exception):
    """A model, library or device that is not there."""

    def __init__(self, missing: str, cure: str) -> None:
        super().__init__(f"{missing} ({cure})")
        self.missing = missing
        self.cure = cure


class Engine(Protocol):
    """What an engine tells about itself; the service prints it in its ready line."""

    def facts(self) -> dict[str, object]:
        """JSON-able: engine, model, model_sha256 (None where there is no file), device, version, settings."""
        ...


def model_facts(
    engine: str, located: Located, *, device: str, version: str, settings: dict[str, object]
) -> dict[str, object]:
    """What an engine with a model tells about itself; a model without a name is told by its path."""
    return {
        "engine": engine,
        "model": located.name or str(located.path),
        "model_sha256": located.sha256,
        "device": device,
        "version": version,
        "settings": settings,
    }


def scripted_facts(settings: dict[str, object], version: str | None = None) -> dict[str, object]:
    """What every scripted engine tells about itself: there is no model in it."""
    return {
        "engine": "scripted",
        "model": None,
        "model_sha256": None,
        "device": "cpu",
        "version": version,
        "settings": settings,
    }


@dataclass(frozen=True, slots=True)
class CallSlots:
    """The call ids that this stack can serve: `first`, `first + step`, … (`count` of them)."""

    first: int
    count: int
    step: int

    def ids(self) -> range:
        """All ids."""
        return range(self.first, self.first + self.count * self.step, self.step)

    def __contains__(self, call_id: object) -> bool:
        """Whether a call id, as text or number, is one of the slots. "0151" is none: it would be 151 a second time."""
        text = str(call_id)
        return text.isdecimal() and text == str(int(text)) and int(text) in self.ids()


def address(text: str) -> Address:
    """``host:port`` of the command line."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65_535:
        raise argparse.ArgumentTypeError(f"{text!r} is no address; write it as host:port, such as 127.0.0.1:8083")
    return host, int(port)


def call_slots(text: str) -> CallSlots:
    """``first:count:step`` of the command line."""
    parts = text.split(":")
    if len(parts) != 3 or not all(p.isdigit() for p in parts) or 0 in map(int, parts[1:]):
        raise argparse.ArgumentTypeError(f"{text!r} is no first:count:step, such as 151:4:2")
    return CallSlots(*map(int, parts))


def parser(service: str, engines: Sequence[str], description: str) -> argparse.ArgumentParser:
    """The options every service has; the first engine is the default."""
    made = argparse.ArgumentParser(
        prog=f"python -m voiceloop_services.{service}",
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    made.add_argument(
        "--engine",
        choices=engines,
        default=engines[0],
        help="what does the work; scripted is for testing a harness",
    )
    made.add_argument(
        "--calls", type=call_slots, default="151:4:2", metavar="FIRST:COUNT:STEP", help="the call ids served"
    )
    made.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    made.add_argument(
        "--control",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="speak END and CANCEL to the neighbours; switch it off where a neighbour does not know them",
    )
    made.add_argument(
        "--stamps",
        action="store_true",
        help="print when each frame was received and sent (CLOCK_MONOTONIC), for the harness to test itself against",
    )
    made.add_argument("--log-level", choices=("debug", "info", "warning"), default="info")
    return made


def run(service: str, options: argparse.Namespace, serve: Callable[[logging.Logger], NoReturn]) -> NoReturn:
    """Run `serve` until SIGTERM or SIGINT, with logging set up and MissingError turned into exit 69."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine("%(asctime)s.%(msecs)03d %(levelname)-7s %(message)s", datefmt="%H:%M:%S"))
    logging.basicConfig(level=options.log_level.upper(), handlers=[handler])
    if options.stamps:
        _STAMPING.set()
    # Python runs handlers in the main thread, too late where that is about to block; the pipe wakes a thread at once.
    told, tell = os.pipe()
    os.set_blocking(tell, False)
    signal.set_wakeup_fd(tell)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    start(_exit_when_told, told, name="signals")
    # A thread that dies unheard would leave a call silent without a word in the log.
    threading.excepthook = lambda args: logging.getLogger(service).error(
        "thread %s died", args.thread.name if args.thread else "?", exc_info=args.exc_value
    )
    try:
        serve(logging.getLogger(service))
    except MissingError as error:
        print(json.dumps({"missing": error.missing, "cure": error.cure}), flush=True)
        sys.exit(EXIT_MISSING)
    except OSError as error:
        logging.getLogger(service).error("%s", error)  # noqa: TRY400 (the address is in the text; a trace adds nothing)
        sys.exit(1)


class OneLine(logging.Formatter):
    """Shows control characters as text: what came over the wire forges no line of the log and commands no terminal."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's own name)
        line = super().formatMessage(record)
        if len(line) > LONGEST_LINE:
            line = f"{line[:LONGEST_LINE]}… ({len(line)} characters)"
        return line if line.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in line)


def _exit_when_told(told: int) -> None:
    os.read(told, 1)
    # Sockets and models are freed by the kernel; what matters at the end is that nothing can hang.
    os._exit(0)


def announce_ready(service: str, engine: Engine) -> None:
    """Print the ready line: one JSON object on standard output, after warm-up and with every port bound."""
    _say({"ready": service, **engine.facts()})


def count(call_id: str, **counted: float) -> None:
    """Print what was worked for a call: one JSON line on standard output, such as tokens. A harness adds them up.

    They are the same from run to run, so that more work for the same words shows without noise.
    """
    # A full disk is no reason to close a call.
    with contextlib.suppress(OSError):
        _say({"call": call_id, "counted": counted})


def stamp(call_id: str, what: Literal["received", "sent"]) -> None:
    """With --stamps, print the time at which a frame of a call was received, or is about to be sent.

    Called between a frame's last byte and any work on it, and right before the first byte of what is sent: the line is
    in the log before the frame can be seen anywhere else. HELLO has none. It costs some 0.02 ms.
    """
    if _STAMPING.is_set():
        _say({"call": call_id, "stamped": {what: time.monotonic_ns()}})


def _say(line: dict[str, object]) -> None:
    # print() writes the text and the end of the line apart, and another thread's log line can come between them.
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def listen_tcp(at: Address) -> socket.socket:
    """A listening socket. Raises OSError that names the address."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _bind(made, at)
    made.listen(128)
    return made


def bind_udp(at: Address) -> socket.socket:
    """A bound datagram socket. Raises OSError that names the address."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    _bind(made, at)
    return made


def _bind(made: socket.socket, at: Address) -> None:
    try:
        made.bind(at)
    except OSError as error:
        made.close()
        raise OSError(error.errno, f"cannot bind {at[0]}:{at[1]}: {error.strerror}") from None


def serve_connections(
    listener: socket.socket, serve: Callable[[socket.socket, Address], None], log: logging.Logger, *, name: str
) -> NoReturn:
    """Call `serve` with every connection (TCP_NODELAY set) and its peer, each in a thread called `name`."""
    while True:
        try:
            connection, peer = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            start(serve, connection, peer, name=name)
        except OSError as error:
            log.warning("a connection could not be accepted: %s", error)
            time.sleep(0.1)  # what is wrong (too many open files, say) may last


def connect(to: Address, timeout_s: float = 2.0) -> socket.socket:
    """A connection with TCP_NODELAY; it blocks without limit once it stands. Raises OSError."""
    connection = socket.create_connection(to, timeout=timeout_s)
    if connection.getsockname() == connection.getpeername():
        # The kernel chose the very port that nobody listens at, and TCP connects a port with itself.
        connection.close()
        raise ConnectionRefusedError(f"nobody listens at {to[0]}:{to[1]}")
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.settimeout(None)
    return connection


def read_frames(connection: socket.socket, layout: frames.Layout) -> Iterator[frames.Frame]:
    """Frames until the peer closes. Raises frames.WireError for what is no frame, OSError for a lost connection."""
    decoder = frames.Decoder(layout)
    while data := connection.recv(RECEIVE_BYTES):
        try:
            yield from decoder.feed(data)
        except frames.WireError as error:
            # What came whole before it is still good.
            yield from error.frames
            raise
    decoder.finish()


def sound(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Samples as they should be: float32 in [-1, 1], shape (n,). What is no number becomes silence.

    One of them would stay in a filter or a detector for the rest of the call.
    """
    return np.nan_to_num(np.clip(samples, -1.0, 1.0))


def receive_datagrams(bound: socket.socket, log: logging.Logger) -> Iterator[tuple[datagrams.Datagram, Address]]:
    """Control datagrams and where they came from; anything else is logged and dropped."""
    while True:
        data, sender = bound.recvfrom(datagrams.MAX_BYTES + 1)
        datagram = datagrams.parse(data)
        if datagram is None:
            log.warning("dropped a datagram from %s:%d that is no control datagram: %r", *sender, data[:40])
        else:
            yield datagram, sender


def start(target: Callable[..., None], *args: object, name: str) -> threading.Thread:
    """A daemon thread. Raises OSError where none can be started: it ends a call as a lost connection does."""
    thread = threading.Thread(target=target, args=args, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        raise OSError(f"no thread {name}: {error}") from None
    return thread
