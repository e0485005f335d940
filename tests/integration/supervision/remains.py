"""What runs of a test run, and which sockets it holds: found by a mark in the environment, which all below inherit."""

import contextlib
import ipaddress
import os
import struct
import time
from dataclasses import dataclass
from pathlib import Path

MARK = "SUPERVISED_RUN"
PATIENCE_S = 60
TABLES = ("tcp", "tcp6", "udp", "udp6")
LISTENS = "0A"


@dataclass(frozen=True)
class Socket:
    """One line of /proc/net/tcp and its like."""

    protocol: str
    host: str
    port: int
    peer_port: int
    state: str

    @property
    def reachable(self):
        """Whether others can send it something unasked."""
        return self.state == LISTENS or (self.protocol.startswith("udp") and not self.peer_port)


def processes(mark):
    """The processes of a marked run and their command lines. A zombie runs no more."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def sockets(pids):
    """Inode → socket, of these processes."""
    held = set()
    for pid in pids:
        with contextlib.suppress(OSError):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with contextlib.suppress(OSError):
                    held.add(str(descriptor.readlink()))
    return {inode: found for inode, found in all_sockets().items() if f"socket:[{inode}]" in held}


def all_sockets():
    """Inode → socket, of this machine's network."""
    found = {}
    for table in TABLES:
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            host, port = words[1].split(":")
            raw = bytes.fromhex(host)
            # Each four bytes stand in the machine's order.
            turned = b"".join(struct.pack(">I", *struct.unpack_from("=I", raw, at)) for at in range(0, len(raw), 4))
            peer_port = int(words[2].split(":")[1], 16)
            found[int(words[9])] = Socket(table, str(ipaddress.ip_address(turned)), int(port, 16), peer_port, words[3])
    return found


class Watch:
    """Remembers every process and socket that was seen of a run, and says what is left of them."""

    def __init__(self, mark):
        self._mark = mark
        self._seen = set()

    def look(self):
        """The run's processes now, by pid; their sockets are remembered."""
        now = processes(self._mark)
        self._seen |= set(sockets(now))
        return now

    def left(self):
        """Processes and sockets that are still there after a generous while; and how long it took, in seconds."""
        began_s = time.monotonic()
        while True:
            running = processes(self._mark)
            # Inode 0 is that of a connection which no process holds.
            held = (self._seen - {0}) & set(all_sockets())
            took_s = time.monotonic() - began_s
            if not running and not held:
                return 0, took_s
            if took_s > PATIENCE_S:
                print(f"left: {running} {held}")
                return len(running) + len(held), took_s
            time.sleep(0.02)


def clear(mark):
    """End what a failed test left."""
    for pid in processes(mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 9)
