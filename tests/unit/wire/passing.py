"""Feeding a protocol: whole, in pieces, or with nonsense."""

from hypothesis import strategies as st

from pytest_voiceloop.wire.protocols import Direction, LinkProtocol, Passed

Steps = list[tuple[Direction, bytes]]


def fed(protocol: LinkProtocol, steps: Steps) -> list[Passed]:
    """What is said of a connection that goes like this."""
    conversation = protocol.open()
    return [passed for direction, data in steps for passed in conversation.feed(direction, data)]


def in_short(passed: list[Passed]) -> list[tuple[str, str, str]]:
    """Direction, kind and text of each."""
    return [(p.direction, p.kind, p.payload.decode()) for p in passed]


def joined(passed: list[Passed]) -> list[tuple[Direction, str, bytes, int]]:
    """What passed, whatever the pieces of audio and bytes were, and whatever was said to be wrong with garbled ones."""
    found: list[tuple[Direction, str, bytes, int]] = []
    for p in passed:
        what = (p.direction, p.kind, b"" if p.kind == "garbled" else p.payload, p.sample_rate_hz)
        if p.kind in ("audio", "bytes") and found and (found[-1][:2], found[-1][3]) == (what[:2], what[3]):
            found[-1] = (*what[:2], found[-1][2] + p.payload, p.sample_rate_hz)
        else:
            found.append(what)
    return found


@st.composite
def cut(draw: st.DrawFn, steps: Steps) -> Steps:
    """The same connection, read in other pieces."""
    pieces: Steps = []
    for direction, data in steps:
        places = sorted(set(draw(st.lists(st.integers(1, len(data) - 1), max_size=8)))) if len(data) > 1 else []
        pieces += [(direction, data[a:b]) for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    return pieces


def bytewise(steps: Steps) -> Steps:
    """The same connection, each byte read by itself."""
    return [(d, data[i : i + 1]) for d, data in steps for i in range(max(1, len(data)))]


@st.composite
def spoiled(draw: st.DrawFn, steps: Steps) -> Steps:
    """The same connection with some bytes replaced, dropped or put in, and perhaps cut off."""
    found: Steps = []
    for direction, data in steps:
        wrong = bytearray(data)
        for _ in range(draw(st.integers(0, 3))):
            place = draw(st.integers(0, len(wrong)))
            wrong[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=4))
        if wrong or not data:
            found.append((direction, bytes(wrong)))
    return found[: draw(st.integers(0, len(found)))]


def request(path: str, body: bytes = b"", content_type: str = "application/json", method: str = "POST") -> bytes:
    """An HTTP request."""
    return (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:9\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def answer(body: bytes, content_type: str = "application/json", status: str = "200 OK", headers: str = "") -> bytes:
    """An HTTP answer that says its length."""
    return (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode()
        + body
    )


def chunked(chunks: list[bytes], content_type: str = "text/event-stream", headers: str = "") -> list[bytes]:
    """An HTTP answer as it is sent when its length is not known: the head, each chunk, the end."""
    return [
        f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n{headers}Transfer-Encoding: chunked\r\n\r\n".encode(),
        *(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks),
        b"0\r\n\r\n",
    ]
