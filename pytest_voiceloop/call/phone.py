"""The caller's side of a stack, whatever it speaks. Other packages can bring sides of their own.

A caller's side is a function `open_phone`, found by its name among the entry points of the group ``voiceloop.callers``.
Shipped are ``voiceloop`` (`call.registered`: the reference stack's) and ``websocket`` (`call.websocket`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

from pytest_voiceloop.wire.protocols import registered

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    import numpy as np
    from numpy.typing import NDArray

    from pytest_voiceloop.call.live import LiveStack
    from pytest_voiceloop.measure.playout import Arrival

GROUP = "voiceloop.callers"


class Phone(Protocol):
    """An open call, as the caller holds it.

    `arrivals` grows with what the caller hears, `ends_ns` with the moment of each END of a reply, and `over_ns` is when
    the other side hung up. Whoever waits for them waits for `live.recorder.changed`, which is notified at each.
    `errors` grows with what the caller got and could not understand, in words.
    """

    arrivals: list[Arrival]
    ends_ns: list[int]
    over_ns: int | None
    errors: list[str]
    receive_buffer_bytes: int
    """What the system granted for what has not been read yet; 0 where it cannot overflow."""

    def encode(self, samples: NDArray[np.float32]) -> Sequence[bytes]:
        """Float32 samples at 16 kHz, shape (n,), as what `send` takes every 20 ms; the last is padded with silence."""

    def send(self, frame: bytes) -> None:
        """Say 20 ms. Raises OSError if nobody takes them."""


class OpenPhone(Protocol):
    """Starts a call. The context ends it."""

    def __call__(self, live: LiveStack, call_id: str, **options: Any) -> AbstractContextManager[Phone]:
        """Connect, and yield when both sides can speak. Its options are keywords of its own. Raises StackError."""


def open_phone(live: LiveStack, call_id: str) -> AbstractContextManager[Phone]:
    """Start a call as the stack's caller does. Raises ProtocolError for a side that nobody brings, StackError."""
    side = cast("OpenPhone", registered(GROUP, "caller's side", live.spec.caller.protocol))
    return side(live, call_id, **live.spec.caller.options)
