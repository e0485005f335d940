"""Other programs on purpose: they run while they are wanted, count as foreign, and leave nothing behind."""

import os
import subprocess
import sys
import time

import psutil

from pytest_voiceloop.call.foreign_load import foreign_load


def workers(on_behalf_of):
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if (process.info["cmdline"] or [])[-3:] == ["pytest_voiceloop.call.foreign_load", "50.0", str(on_behalf_of)]
        and process.status() != psutil.STATUS_ZOMBIE
    ]


def until(held):
    deadline = time.monotonic() + 30
    while not held() and time.monotonic() < deadline:
        time.sleep(0.02)
    return held()


def test_a_worker_for_each_processor_and_none_afterwards():
    with foreign_load(50.0):
        assert len(workers(os.getpid())) == len(os.sched_getaffinity(0))
        ours = {child.pid for child in psutil.Process().children(recursive=True)}
        assert not ours & {worker.pid for worker in workers(os.getpid())}
    assert until(lambda: not workers(os.getpid()))


def test_workers_end_when_whoever_wanted_them_is_killed():
    code = "from pytest_voiceloop.call.foreign_load import foreign_load\nwith foreign_load(50.0): print('on'); input()"
    with subprocess.Popen(
        [sys.executable, "-u", "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as wants:
        assert wants.stdout.readline() == "on\n"
        assert workers(wants.pid)
        wants.kill()
    assert until(lambda: not workers(wants.pid))
