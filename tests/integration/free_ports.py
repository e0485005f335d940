"""Port numbers that nobody else takes between the moment they are chosen and the moment a test binds them."""

import contextlib

from pytest_voiceloop.stack import ports

# Pages of a stack's ports, held until this process ends: no stack gets them, and no outgoing connection.
_held = contextlib.ExitStack()
_numbers: list[int] = []
_free: list[int] = []


def free_ports(count: int = 1) -> int:
    """Consecutive numbers, free for TCP and UDP on loopback and given out once; the first of them."""
    if count > len(_free):
        pages = -(-count // ports.PAGE)
        first = _held.enter_context(ports._page(pages * ports.PAGE))
        _free[:] = range(first, first + pages * ports.PAGE)
        _numbers.extend(_free)
    taken, _free[:] = _free[:count], _free[count:]
    return taken[0]


def holding_sockets() -> int:
    """How many sockets of this process hold pages."""
    return len(_numbers) // ports.PAGE
