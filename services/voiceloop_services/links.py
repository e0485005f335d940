"""One call's connections to its neighbours: made with patience, watched while they stand."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from voiceloop_services import runtime

if TYPE_CHECKING:
    import logging
    import threading
    from collections.abc import Callable

RETRIES_S = (0.2,) * 5 + (1.0,) * 5
"""How long to wait before each of the ten further attempts."""


def connect_patiently(
    to: runtime.Address, who: str, over: threading.Event, log: logging.Logger, call_id: str
) -> socket.socket:
    """A connection to a neighbour that may not listen yet; it is tried again ten times.

    Raises ConnectionError, naming the neighbour and its address, when the last attempt fails or `over` is set.
    """
    for delay_s in (*RETRIES_S, None):
        try:
            return runtime.connect(to)
        except OSError as error:
            if delay_s is None or over.wait(delay_s):
                raise ConnectionError(f"cannot connect to {who} at {to[0]}:{to[1]}: {error}") from None
            log.debug("call %s: %s at %s:%d does not answer yet (%s)", call_id, who, *to, error)
    raise AssertionError("the last attempt returns or raises")


def watch(connection: socket.socket, lost: Callable[[], None]) -> None:
    """Start a thread that calls `lost` when the peer closes a connection on which it has nothing to say.

    Without it a dead neighbour is noticed only at the second write, and the first one's text is gone.
    """

    def wait() -> None:
        try:
            while connection.recv(runtime.RECEIVE_BYTES):
                pass
        except OSError:
            pass
        lost()

    runtime.start(wait, name="watch")


def close(connection: socket.socket) -> None:
    """Close a connection for good, also under a thread that is reading from it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
