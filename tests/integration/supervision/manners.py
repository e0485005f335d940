"""Runs a service of the reference stack as one with bad manners: ``manners.py MANNER MODULE ARGUMENT…``."""

import logging
import os
import runpy
import signal
import socket
import sys
import threading
import time
from pathlib import Path


def ignores_sigterm():
    # Blocked rather than ignored, since the service sets a handler of its own.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})


def tells_of_sigterm():
    """Ignores it too, and leaves a file to say that it came."""
    ignores_sigterm()

    def tell():
        signal.sigwait({signal.SIGTERM})
        Path("asked-to-end").touch()
        while True:
            time.sleep(1)

    threading.Thread(target=tell, daemon=True).start()


def forks():
    """A child, one in a session of its own, and a daemon; each holds a socket and ignores SIGTERM."""
    for away in (lambda: None, os.setsid, lambda: (os.setsid(), os.fork() and os._exit(0))):
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            away()
            held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            held.bind(("127.0.0.1", 0))
            while True:
                time.sleep(1)


def closes_stdout():
    from voiceloop_services import runtime

    announce = runtime.announce_ready

    def close_after(*what):
        announce(*what)
        # What it prints goes nowhere from now on; the descriptors themselves are closed, as a daemon does it.
        sys.stdout = sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115
        for handler in logging.getLogger().handlers:
            handler.setStream(sys.stderr)
        os.close(1)
        os.close(2)

    runtime.announce_ready = close_after


def floods():
    """Writes into its log until it is ended; four gigabytes if nobody does that."""
    from voiceloop_services import runtime

    announce = runtime.announce_ready
    line = b"debug: " + b"x" * 1016 + b"\n"

    def write():
        for _ in range(4096):
            os.write(2, line * 1024)

    def flood_after(*what):
        announce(*what)
        threading.Thread(target=write, daemon=True).start()

    runtime.announce_ready = flood_after


if __name__ == "__main__":
    _, manner, _, module, *sys.argv[1:] = sys.argv
    globals()[manner]()
    runpy.run_module(module, run_name="__main__", alter_sys=True)
