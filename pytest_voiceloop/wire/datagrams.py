"""The ASCII datagrams that open and close calls: ``REGISTER:<id>``, ``END:<id>``, ``BYE:<id>``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

MAX_BYTES = 255
Verb = Literal["REGISTER", "END", "BYE"]


@dataclass(frozen=True, slots=True)
class Datagram:
    """One control datagram."""

    verb: Verb
    call_id: str

    def encode(self) -> bytes:
        """The bytes to send, without terminator."""
        return f"{self.verb}:{self.call_id}".encode("ascii")


def parse(data: bytes) -> Datagram | None:
    """The datagram in `data`, or None where it is none (white space around it is trimmed)."""
    if len(data) > MAX_BYTES:
        return None
    verb, colon, call_id = data.strip().partition(b":")
    if verb not in (b"REGISTER", b"END", b"BYE") or not colon or not call_id.isdigit():
        return None
    return Datagram(cast("Verb", verb.decode()), call_id.decode())
