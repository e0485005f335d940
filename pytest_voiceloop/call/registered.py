"""The reference stack's caller: REGISTER with both ends, speech over TCP, the reply as RTP."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from pytest_voiceloop.call.ear import open_ear
from pytest_voiceloop.call.mouth import encode_clip, open_mouth
from pytest_voiceloop.stack.spec import CALLER, SpecError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray

    from pytest_voiceloop.call.ear import Ear
    from pytest_voiceloop.call.live import LiveStack
    from pytest_voiceloop.call.mouth import Mouth
    from pytest_voiceloop.measure.playout import Arrival


class RegisteredPhone:
    """A mouth and an ear."""

    def __init__(self, mouth: Mouth, ear: Ear) -> None:
        self.arrivals: list[Arrival] = ear.arrivals
        self.ends_ns: list[int] = ear.ends_ns
        self.errors: list[str] = ear.errors
        self.receive_buffer_bytes = ear.receive_buffer_bytes
        self._ear = ear
        self.send = mouth.send

    @property
    def over_ns(self) -> int | None:
        """When outbound said BYE."""
        return self._ear.over_ns

    def encode(self, samples: NDArray[np.float32]) -> list[bytes]:
        """As frames for whisper."""
        return encode_clip(samples)


@contextlib.contextmanager
def open_phone(live: LiveStack, call_id: str) -> Iterator[RegisteredPhone]:
    """Register with outbound, then with whisper. Raises SpecError for a stack that has not their ports."""
    needed = (("whisper", "register"), ("outbound", "register"), (CALLER, "audio"))
    missing = [f"{owner}.{port}" for owner, port in needed if (owner, port) not in live.running.addresses.bind]
    if missing:
        raise SpecError(
            f"the caller speaks as to the reference stack, and this one has no {', '.join(missing)}; say how it is "
            'called, such as [caller] protocol = "websocket"',
            *("caller", "protocol"),
        )
    with open_ear(live, call_id) as ear, open_mouth(live, call_id) as mouth:
        yield RegisteredPhone(mouth, ear)
