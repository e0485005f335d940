"""Boot a stack: ports, processes, readiness. What was started is ended with the context, whatever happens in it."""

from __future__ import annotations

import contextlib
import signal
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pytest_voiceloop.stack.ports import allocate
from pytest_voiceloop.stack.process import Process, StackError, check_start, spawn
from pytest_voiceloop.stack.readiness import reach, wait_ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pytest_voiceloop.stack.spec import Addresses, Service, StackSpec

_ADDRESS_IN_USE = ("address already in use", "eaddrinuse")
_PORT_TRIES = 2


class _AbandonedError(Exception):
    """Nobody waits any more for a service to come back."""


@dataclass(slots=True)
class RunningStack:
    """A stack whose services are all ready. `restarts` lists services that died and were started again.

    A service that ran before has no process here. `down` are those that are stopped on purpose just now, or were not
    started again since that was abandoned, and `stopped` all that ever were.
    """

    spec: StackSpec
    addresses: Addresses
    logs: Path
    processes: list[Process] = field(default_factory=list)
    restarts: list[str] = field(default_factory=list)
    down: set[str] = field(default_factory=set)
    stopped: list[str] = field(default_factory=list)
    _ended: bool = False
    _replacing: threading.Lock = field(default_factory=threading.Lock)

    def check(self) -> None:
        """Raise StackError if a service has died, with its exit code and log; one that was ended on purpose has not."""
        for process in self.processes:
            if process.name not in self.down:
                process.check()

    def process(self, name: str) -> Process:
        """The process of a service, as it runs now. Raises StackError for one that is not run here."""
        for process in self.processes:
            if process.name == name:
                return process
        raise StackError(f"{name} is no service that was started here")

    def is_up(self, name: str) -> bool:
        """Whether a service runs and is ready. One that was not started here is taken to be."""
        own = [process for process in self.processes if process.name == name]
        return not own or (name not in self.down and own[0].popen.poll() is None)

    def account(self) -> str:
        """The last lines of every service's log, for a message about what none of them is known to be at fault for."""
        return "\n".join(f"--- {name} ---\n{tail}" for name, tail in self.log_tails())

    def log_tails(self) -> list[tuple[str, str]]:
        """(service, the last lines of its log), in the order of the stack."""
        return [(process.name, process.log_tail()) for process in self.processes]

    def restart_dead(self) -> None:
        """Start again, once each, what has died, at its old address. Raises StackError if it dies again.

        What was stopped on purpose, and not started again since that was abandoned, has not died.
        """
        for place, process in enumerate(self.processes):
            if process.name not in self.down:
                if process.popen.poll() is None:
                    continue
                if process.name in self.restarts:
                    process.check()
                self.restarts.append(process.name)
            with self._out_of_service(process.name):
                self._replace(place)

    def restart(self, name: str, number: signal.Signals, down_s: float, abandoned: threading.Event) -> None:
        """End a service on purpose by a signal, start it again `down_s` later, and wait until it is ready.

        SIGTERM asks it as the end of the run does. Once `abandoned`, it is not started again, nor waited for: it stays
        down until `restart_dead`. Raises StackError if it does not come back.
        """
        process = self.process(name)
        with self._out_of_service(name):
            self.stopped.append(name)
            if number == signal.SIGTERM:
                process.stop()
            else:
                process.send_signal(number)
                process.popen.wait()
            if abandoned.wait(down_s):
                raise _AbandonedError
            self._replace(self.processes.index(process), abandoned)

    @contextlib.contextmanager
    def _out_of_service(self, name: str) -> Iterator[None]:
        """It is down until the context ends, and longer where nobody waits any more for it to come back."""
        self.down.add(name)
        try:
            yield
        except _AbandonedError:
            return
        except BaseException:
            self.down.discard(name)
            raise
        self.down.discard(name)

    def _replace(self, place: int, abandoned: threading.Event | None = None) -> None:
        process = self.processes[place]
        service = self.spec.service(process.name)
        life = (*self.restarts, *self.stopped).count(service.name) + 1
        with self._replacing:
            process.stop()
            if self._ended:
                raise StackError(f"{service.name} is not started again, since the stack is being stopped")
            # A log of its own: that of the life before says why it ended.
            self.processes[place] = process = self._spawn(service, f"{service.name}-{life}.log")

        def go_on() -> None:
            self.check()
            if abandoned is not None and abandoned.is_set():
                raise _AbandonedError

        try:
            self._wait(service, process, go_on)
        except _AbandonedError:
            process.let_go()
            process.wait_gone()
            raise

    def start(self, progress: Callable[[str], None]) -> None:
        """Start every service at once and wait until all are ready. Raises StackError."""
        started = [service for service in self.spec.services if service.command]
        running = [service for service in self.spec.services if not service.command]
        for service in running:
            reach(service)
        for service in started:
            self.processes.append(self._spawn(service, f"{service.name}.log"))
        for service, process in zip(started, self.processes, strict=True):
            progress(f"booting {service.name}")
            # A service that dies at once is told at once, not when those before it are ready.
            self._wait(service, process)
            progress(f"{service.name} is ready after {process.cold_start_ms / 1000:.1f} s")
        for service in running:
            self._wait(service, None)
            known = "its ports take connections, no more was asked" if service.ready.by == "line" else "it is ready"
            progress(f"{service.name} runs already: {known}")

    def stop(self) -> None:
        """End every service. All are asked at once, so that their graces do not add up.

        Interrupted, it gives them none.
        """
        try:
            with self._replacing:
                self._ended = True
            for process in self.processes:
                process.popen.terminate()
            for process in self.processes:
                process.stop()
        except BaseException:
            for process in self.processes:
                process.let_go()
            for process in self.processes:
                process.wait_gone()
            raise

    def _spawn(self, service: Service, log: str) -> Process:
        command = [self._fill(service, word) for word in service.command]
        check_start(service, command)
        return spawn(
            service.name,
            command,
            self.logs / log,
            env={key: self._fill(service, value) for key, value in service.env.items()},
            cwd=service.cwd,
            grace_s=service.grace_s,
            stop_signal=service.stop_signal,
        )

    def _wait(self, service: Service, process: Process | None, meanwhile: Callable[[], None] | None = None) -> None:
        ready = service.ready
        value = self._fill(service, ready.value) if isinstance(ready.value, str) and ready.by != "log" else ready.value
        filled = replace(service, ready=replace(ready, value=value, send=self._fill(service, ready.send)))
        addresses = {port: self._fill(service, f"{{{service.name}.{port}}}") for port in service.ports}
        wait_ready(process, filled, addresses, meanwhile=meanwhile or self.check)

    def _fill(self, service: Service, text: str) -> str:
        return self.addresses.fill(service.name, text, self.spec.slots)


@contextlib.contextmanager
def boot(
    spec: StackSpec, logs: Path, *, fixed_ports: bool = False, progress: Callable[[str], None] = lambda _: None
) -> Iterator[RunningStack]:
    """Boot a stack, and end it with the context.

    Logs go to ``logs/<service>.log``. Raises StackError, MissingPrerequisiteError or PortError; nothing is left
    running then. A boot that fails because another program took a port in the meantime is tried once more.
    """
    with contextlib.ExitStack() as held:
        for tries_left in reversed(range(_PORT_TRIES)):
            attempt = held.enter_context(contextlib.ExitStack())
            running = RunningStack(spec, attempt.enter_context(allocate(spec, fixed=fixed_ports)), logs)
            attempt.callback(running.stop)
            try:
                running.start(progress)
                break
            except StackError as error:
                if not (tries_left and any(sign in str(error).lower() for sign in _ADDRESS_IN_USE)):
                    raise
                progress("a port was taken by another program in the meantime; booting once more on other ports")
                attempt.close()
        yield running
