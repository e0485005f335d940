"""A caller over one WebSocket: speech goes out and the reply comes in as binary messages of bare samples.

Options (``[caller]`` in a voiceloop.toml, `Caller.options` in a spec):

===============  ==========================================================================================
url              where to call; placeholders such as ``ws://{agent.ws}/call/{call}`` are filled
rate_hz          samples per second, both ways (16000)
codec            ``pcm_s16le``, ``mulaw`` or ``pcm_f32le``, both ways (``pcm_s16le``)
reply_rate_hz    that of the reply, where it is another
reply_codec      that of the reply, where it is another
end_message      a text message that holds this says that the reply is complete; for ``end_of_reply = "end"``
===============  ==========================================================================================
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import soxr

from pytest_voiceloop.call.corpus import RATE_HZ
from pytest_voiceloop.call.pacing import FRAME_MS, frames_of
from pytest_voiceloop.measure.playout import Arrival
from pytest_voiceloop.stack.process import StackError
from pytest_voiceloop.stack.spec import CALLER, SpecError
from pytest_voiceloop.wire import codecs

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray
    from websockets.sync.client import ClientConnection

    from pytest_voiceloop.call.live import LiveStack
    from pytest_voiceloop.wire.codecs import Codec

CONNECT_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Reply:
    """How the reply comes in."""

    rate_hz: int
    codec: Codec
    end_message: str


class WebSocketPhone:
    """One connection. A thread of its own listens."""

    receive_buffer_bytes = 0

    def __init__(
        self, connection: ClientConnection, rate_hz: int, codec: Codec, reply: Reply, changed: threading.Condition
    ) -> None:
        self.arrivals: list[Arrival] = []
        self.ends_ns: list[int] = []
        self.over_ns: int | None = None
        self.errors: list[str] = []
        self._connection = connection
        self._rate_hz = rate_hz
        self._codec = codec
        self._reply = reply
        self._changed = changed
        self._thread = threading.Thread(target=self._listen, name="websocket", daemon=True)
        self._thread.start()

    def encode(self, samples: NDArray[np.float32]) -> list[bytes]:
        """As binary messages."""
        rate_hz = self._rate_hz
        at_rate = samples if rate_hz == RATE_HZ else soxr.resample(samples, RATE_HZ, rate_hz, quality="HQ")
        return [codecs.encode(one, self._codec) for one in frames_of(at_rate, rate_hz * FRAME_MS // 1000)]

    def send(self, frame: bytes) -> None:
        """Raises OSError once the other side has hung up."""
        from websockets.exceptions import ConnectionClosed

        try:
            self._connection.send(frame)
        except ConnectionClosed as error:
            raise OSError(f"the WebSocket was closed: {error}") from None

    def close(self) -> None:
        """Hang up."""
        self._connection.close()
        self._thread.join()

    def _listen(self) -> None:
        from websockets.exceptions import ConnectionClosed

        samples = 0
        # However the connection ends, the call is over; who waits for a reply says so.
        with contextlib.suppress(ConnectionClosed):
            for message in self._connection:
                at_ns = time.monotonic_ns()
                with self._changed:
                    if isinstance(message, bytes):
                        self._hear(message, at_ns, samples)
                        samples += len(message) // codecs.SAMPLE_BYTES[self._reply.codec]
                    elif self._reply.end_message and self._reply.end_message in message:
                        self.ends_ns.append(at_ns)
                    self._changed.notify_all()
        with self._changed:
            self.over_ns = time.monotonic_ns()
            self._changed.notify_all()

    def _hear(self, message: bytes, at_ns: int, samples: int) -> None:
        number, reply = len(self.arrivals), self._reply
        self.arrivals.append(
            Arrival(at_ns, number & 0xFFFF, samples & 0xFFFFFFFF, number == 0, message, reply.codec, reply.rate_hz)
        )


@contextlib.contextmanager
def open_phone(
    live: LiveStack,
    call_id: str,
    *,
    url: str,
    rate_hz: int = RATE_HZ,
    codec: Codec = "pcm_s16le",
    reply_rate_hz: int | None = None,
    reply_codec: Codec | None = None,
    end_message: str = "",
) -> Iterator[WebSocketPhone]:
    """Connect; hangs up with the context. Raises SpecError for an option that will not do, StackError."""
    from websockets.exceptions import WebSocketException
    from websockets.sync.client import connect

    reply = Reply(reply_rate_hz or rate_hz, reply_codec or codec, end_message)
    _check(url, (rate_hz, reply.rate_hz), (codec, reply.codec))
    if live.spec.caller.end_of_reply == "end" and not end_message:
        raise SpecError(
            'caller.end_message: end_of_reply = "end" needs the text message that says it; give one, or set '
            'end_of_reply = "quiescence"'
        )
    filled = live.running.addresses.fill(CALLER, url, live.spec.slots).replace("{call}", call_id)
    with contextlib.ExitStack() as stack:
        try:
            connection = stack.enter_context(
                connect(
                    filled,
                    open_timeout=CONNECT_TIMEOUT_S,
                    # Speech does not shrink, and packing it would take time that is nobody's.
                    compression=None,
                    # An agent that thinks and does not read answers no ping; that is slow, not gone.
                    ping_interval=None,
                    max_size=2**24,
                    proxy=None,
                )
            )
        except (OSError, WebSocketException) as error:
            raise StackError(
                f"the caller could not connect to {filled} (caller.url): {error}.\n{live.running.account()}"
            ) from None
        phone = WebSocketPhone(connection, rate_hz, codec, reply, live.recorder.changed)
        stack.callback(phone.close)
        yield phone


def _check(url: str, rates_hz: tuple[int, int], used: tuple[Codec, Codec]) -> None:
    if not url.startswith(("ws://", "wss://")):
        raise SpecError(f"caller.url: {url!r} is no WebSocket's; write one such as ws://{{agent.ws}}/call/{{call}}")
    for rate_hz in rates_hz:
        if not 8000 <= rate_hz <= 48_000 or rate_hz % 50:
            raise SpecError(f"caller.rate_hz: {rate_hz} will not do; write 8000 to 48000, whole samples in 20 ms")
    for codec in used:
        if codec not in codecs.SAMPLE_BYTES:
            raise SpecError(f"caller.codec: there is no {codec!r}; take {', '.join(codecs.SAMPLE_BYTES)}")
