"""The connection of one call to outbound: made with patience, and made again when it breaks."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING, Literal

from pytest_voiceloop.wire import frames
from voiceloop_services import links, runtime

if TYPE_CHECKING:
    import logging
    import threading

    import numpy as np
    from numpy.typing import NDArray

CHUNK_SAMPLES = frames.MAX_AUDIO_OUT_BYTES // 4
ATTEMPTS = 10
"""How often one frame is sent anew before outbound, which accepts and then closes, is taken to refuse the call."""


class OutboundLink:
    """Audio and marks for one call. One thread sends; `abort`, `peer_has_closed` and `may_connect` are for others too.

    Outbound never answers on this link, so a frame counts as sent when the kernel took it; a connection that outbound
    has closed is noticed before a frame is lost on it. A new connection begins with HELLO, and chunk 1.
    """

    def __init__(self, call_id: str, to: runtime.Address, log: logging.Logger) -> None:
        self.call_id = call_id
        self.to = to
        # False while a call is being finished that outbound gave up: over the connection that stands, or not at all.
        self.may_connect = True
        self._log = log
        self._connection: socket.socket | None = None
        self._next_chunk = 1

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._connection is not None

    def connect(self, over: threading.Event) -> bool:
        """Connect and say HELLO, unless the connection stands; ten retries, until `over`. Whether it worked."""
        if self._connection is not None and not self.peer_has_closed():
            return True
        self.close()
        if not self.may_connect:
            return False
        try:
            connection = links.connect_patiently(self.to, "outbound", over, self._log, self.call_id)
            connection.sendall(frames.encode_hello(self.call_id))
        except OSError as error:
            self._log.warning("call %s: %s", self.call_id, error)
            return False
        self._connection, self._next_chunk = connection, 1
        if over.is_set():
            # The call ended while this was being connected; abort() saw no connection yet.
            self.close()
            return False
        self._log.info("call %s: connected to outbound at %s:%d", self.call_id, *self.to)
        return True

    def send_audio(self, samples: NDArray[np.float32], sample_rate_hz: int, over: threading.Event) -> bool:
        """Send float32 mono samples, shape (n,), as one chunk, or as several if they are more than a frame holds."""
        return all(
            self._send(samples[at : at + CHUNK_SAMPLES], sample_rate_hz, over)
            for at in range(0, len(samples), CHUNK_SAMPLES)
        )

    def send_mark(self, kind: Literal["end", "bye"], over: threading.Event) -> bool:
        """Send END or BYE."""
        return self._send(kind, 0, over)

    def close(self) -> None:
        """Close the connection, if there is one. What was sent still arrives."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def abort(self) -> None:
        """Shut the connection down, from another thread: what is being sent fails."""
        connection = self._connection
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def peer_has_closed(self) -> bool:
        """Whether outbound has closed its end, or there is no connection."""
        connection = self._connection
        if connection is None:
            return True
        try:
            return not connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _send(
        self, what: NDArray[np.float32] | Literal["end", "bye"], sample_rate_hz: int, over: threading.Event
    ) -> bool:
        for _ in range(ATTEMPTS):
            if over.is_set():
                return False
            if self._connection is not None and self.peer_has_closed():
                self._log.warning("call %s: outbound closed the connection, connecting again", self.call_id)
            if not self.connect(over) or self._connection is None:
                return False
            try:
                if isinstance(what, str):
                    data = frames.encode_control(what, frames.Layout.AUDIO_OUT)
                else:
                    data = frames.encode_audio_out(what, sample_rate_hz, self._next_chunk)
                runtime.stamp(self.call_id, "sent")
                self._connection.sendall(data)
                self._next_chunk += not isinstance(what, str)
            except OSError as error:
                self._log.warning("call %s: the connection to outbound broke (%s), sending again", self.call_id, error)
                self.close()
            else:
                return True
        return False
