"""The whole scripted stack as processes that can be killed and paused, its links as relays that can be broken, callers.

Whisper says one "la" per 100 ms of sound, llama repeats it, and kokoro's tone is as long as that text: the length of
what a caller hears says whose reply it is.
"""

import contextlib
import re
import select
import signal
import socket
import struct
import threading
import time
from dataclasses import dataclass, replace

import numpy as np
import psutil
from neighbours import DEADLINE_S, Service, silence, tone, until

from pytest_voiceloop.stack.ports import allocate
from pytest_voiceloop.stack.reference import reference_stack
from pytest_voiceloop.stack.spec import Slots
from pytest_voiceloop.wire import datagrams, frames, rtp

HOST = "127.0.0.1"
SERVICES = ("whisper", "llama", "kokoro", "outbound")
CALLS = 9
PATIENCE_S = 3 * DEADLINE_S
"""How long anything is waited for; a machine under load takes its time."""
REGISTER_EVERY_S = 0.2
PACKETS_PER_CHARACTER = 3.5
"""The scripted kokoro makes 70 ms of a character."""


class Stack:
    """Four services on allocated ports. With `relayed` every link of theirs passes a relay that can break it."""

    def __init__(self, folder, *, relayed=False, kokoro=(), outbound=()):
        self._folder = folder
        self._held = contextlib.ExitStack()
        spec = replace(reference_stack(scripted=True), slots=Slots(first=1, count=CALLS, step=1))
        self.addresses = self._held.enter_context(allocate(spec))
        self.relays = {}
        reach = self.addresses.bind
        self.registrars = {}
        if relayed:
            reach = self.addresses.reach
            for target, port in (("llama", "listen"), ("kokoro", "listen")):
                self.relays[target] = {None: self._relay(target, port)}
            self.relays["outbound"] = {call_id: self._relay("outbound", "audio", call_id) for call_id in self.call_ids}
            for name in ("whisper", "kokoro"):
                registrar = DatagramRelay(self.addresses.bind[name, "register"])
                self.registrars[name] = self._held.enter_context(contextlib.closing(registrar))

        def at(owner, name, ports=self.addresses.bind):
            return f"{HOST}:{ports[owner, name]}"

        self._options = {
            "whisper": (
                *("--register", at("whisper", "register"), "--caller", at("caller", "audio")),
                *("--llama", at("llama", "listen", reach), "--script-text", "{la}", "--early-silence-ms", 0),
                *("--endpoint-silence-ms", 100, "--endpoint-silence-unfinished-ms", 100),
            ),
            "llama": (
                *("--listen", at("llama", "listen"), "--kokoro", at("kokoro", "listen", reach)),
                *("--script-reply", "{said}"),
            ),
            "kokoro": (
                *("--listen", at("kokoro", "listen"), "--register", at("kokoro", "register")),
                *("--outbound", at("outbound", "audio", reach), *kokoro),
            ),
            "outbound": (
                *("--listen", at("outbound", "audio"), "--register", at("outbound", "register")),
                *("--kokoro", f"{HOST}:{self.register_port('kokoro')}", *outbound),
            ),
        }
        self.lives = {name: [] for name in SERVICES}
        self.callers = set()
        try:
            for name in SERVICES:
                self.start(name)
            for name in SERVICES:
                self.lives[name][-1].ready()
            # What each of them holds when there is no call.
            self.idle = {name: self._holds(name) for name in SERVICES}
        except BaseException:
            self.stop()
            raise

    @property
    def call_ids(self):
        return range(1, CALLS + 1)

    def _relay(self, target, port, call_id=0):
        key = (target, port)
        relay = Relay(self.addresses.reach[key] + call_id, self.addresses.bind[key] + call_id)
        return self._held.enter_context(contextlib.closing(relay))

    def joint(self, target, call_id):
        """The relayed connection of a call to `target`, as soon as it has said HELLO."""
        by_call = self.relays[target][call_id if target == "outbound" else None].by_call
        return until(lambda: by_call.get(str(call_id)), f"the connection of call {call_id} to {target}")

    def forget_joints(self):
        for relays in self.relays.values():
            for relay in relays.values():
                relay.by_call.clear()

    def start(self, name):
        lives = self.lives[name]
        folder = self._folder / f"{name}-{len(lives) + 1}"
        folder.mkdir(parents=True)
        engine = () if name == "outbound" else ("--engine", "scripted")
        lives.append(Service(name, *engine, "--calls", f"1:{CALLS}:1", *self._options[name], folder=folder))

    def process(self, name):
        return psutil.Process(self.lives[name][-1].process.pid)

    def kill(self, name):
        self.lives[name][-1].stop()

    def signal(self, name, number):
        self.lives[name][-1].process.send_signal(number)

    def port(self, owner, name, call_id=0):
        return self.addresses.bind[owner, name] + call_id

    def register_port(self, name):
        """Where REGISTER for whisper or kokoro is sent."""
        return self.registrars[name].port if name in self.registrars else self.port(name, "register")

    def log(self, name):
        return "".join(life.log for life in self.lives[name])

    def complaints(self, name, since=0):
        """What a service warned of, without times and port numbers."""
        said = re.findall(r"^[\d:.]+ (?:WARNING|ERROR) +(.*)$", self.log(name)[since:], re.MULTILINE)
        return [re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:…", line) for line in said]

    def alive(self):
        return all(lives[-1].process.poll() is None for lives in self.lives.values())

    def wait_idle(self):
        """Wait until no service holds more threads and descriptors than without calls. How many more it is, at last."""
        with contextlib.suppress(AssertionError):
            until(lambda: self.leaked() == 0, "the services to let go")
        return self.leaked()

    def leaked(self):
        """Threads and descriptors of the services beyond those that they hold without calls."""
        held = {name: self._holds(name) for name in SERVICES}
        return sum(
            max(0, now - then) for name in SERVICES for now, then in zip(held[name], self.idle[name], strict=True)
        )

    def _holds(self, name):
        process = self.process(name)
        return process.num_threads(), process.num_fds()

    def hang_up_all(self):
        """What a failed test leaves behind must not fail the next one."""
        for caller in tuple(self.callers):
            caller.go()

    def memory_mib(self):
        return {name: self.process(name).memory_info().rss / 2**20 for name in SERVICES}

    def stop(self):
        for lives in self.lives.values():
            for life in lives:
                life.process.send_signal(signal.SIGCONT)
                life.stop()
        self._held.close()


class Relay:
    """Passes the connections to one port on. A fault can be set on a call's connection, for what comes next on it."""

    def __init__(self, at, to):
        self._to = to
        self._listener = socket.create_server((HOST, at))
        self._open = []
        self.by_call = {}
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                joint = Joint(client, self._to, self.by_call)
                self._open.append(joint)

    def close(self):
        _shut(self._listener)
        for joint in self._open:
            joint.close()


class Joint:
    """One relayed connection; known by the call id of its HELLO."""

    def __init__(self, client, to, by_call):
        self.client = client
        self.server = socket.create_connection((HOST, to))
        for each in (self.client, self.server):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.fault = None
        self.struck = threading.Event()
        self.release = threading.Event()
        threading.Thread(target=self._pump, args=(by_call,), daemon=True).start()

    def _pump(self, by_call):
        # One thread for both directions: a socket that another thread reads from could not be reset.
        try:
            # HELLO alone: what follows may have come with it.
            size = self.client.recv(4, socket.MSG_WAITALL)
            call_id = self.client.recv(int.from_bytes(size), socket.MSG_WAITALL)
            by_call[call_id.decode()] = self
            self.server.sendall(size + call_id)
            watched = [self.client, self.server]
            while self.server in watched:
                ready = select.select(watched, [], [])[0]
                if self.server in ready and not self.server.recv(65_536):
                    break
                if self.client in ready and not self._forward():
                    watched.remove(self.client)
        except (OSError, ValueError):  # ValueError: a fault has closed them
            pass
        self.close()

    def _forward(self):
        data = self.client.recv(65_536)
        if not data:
            self.server.shutdown(socket.SHUT_WR)
            return False
        if self.fault is None:
            self.server.sendall(data)
            return True
        fault, self.fault = self.fault, None
        self.struck.set()
        return fault(self, data)

    def close(self):
        _shut(self.client)
        _shut(self.server)


# Faults on a relayed connection: they get what was to be passed on, and return whether to go on after it.


def half_closed(joint, _):
    joint.server.shutdown(socket.SHUT_WR)
    return False


def reset(joint, _):
    for each in (joint.client, joint.server):
        resetting(each)
    return False


def resetting(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def truncated(joint, data):
    joint.server.sendall(data[: len(data) // 2])
    joint.close()
    return False


def corrupted(joint, data):
    joint.server.sendall(bytes([data[0] ^ 0x55]) + data[1:])
    return True


def stalled(joint, data):
    joint.release.wait(PATIENCE_S)
    joint.server.sendall(data)
    return True


class DatagramRelay:
    """Passes datagrams on. `fault` gets each of them and returns those that go on in its place."""

    def __init__(self, to):
        self._to = to
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((HOST, 0))
        self.port = self._socket.getsockname()[1]
        self.fault = unharmed
        threading.Thread(target=self._pass_on, daemon=True).start()

    def _pass_on(self):
        with contextlib.suppress(OSError):
            while True:
                for data in self.fault(self._socket.recv(999)):
                    self.send(data)

    def send(self, data):
        self._socket.sendto(data, (HOST, self._to))

    def close(self):
        _shut(self._socket)


def unharmed(data):
    return [data]


def _shut(either):
    with contextlib.suppress(OSError):
        either.shutdown(socket.SHUT_RDWR)
    either.close()


@dataclass(frozen=True)
class Heard:
    """A reply, or what came of it. `ended` is "end", "bye" or "closed", for the connection to whisper."""

    packets: int
    gaps: int
    ended: str

    @property
    def las(self):
        """How many "la" were said; None where it is no whole number of them."""
        if not self.packets:
            return 0
        number = round((self.packets / PACKETS_PER_CHARACTER + 1) / 3)
        return number if self.packets == expected_packets(number) and not self.gaps else None


def account_of(*callers):
    """What was lost, doubled and crossed, by the lengths that were said and heard. What one caller says again after
    another, because the call was closed, counts once.
    """
    said = {las for caller in callers for las in caller.said}
    heard = [las for caller in callers for las in caller.heard]
    return {
        "lost": len(said - set(heard)),
        "doubled": len(heard) - len(set(heard)),
        "crossed": len([las for caller in callers for las in caller.heard if las not in caller.said]),
    }


def expected_packets(las):
    return int(np.ceil((3 * las - 1) * PACKETS_PER_CHARACTER)) if las else 0


class Caller:
    """One call: what whisper connects to, and where RTP arrives."""

    def __init__(self, stack, call_id):
        self.stack = stack
        self.call_id = call_id
        self._listener = socket.create_server((HOST, stack.port("caller", "audio", call_id)))
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        self.udp.bind((HOST, 0))
        self.line = None
        self.said, self.heard = [], []
        self._sent_s = 0.0
        stack.callers.add(self)

    def dial(self):
        """Register until whisper has connected and outbound has answered."""
        deadline_s = time.monotonic() + PATIENCE_S
        answered = False
        while time.monotonic() < deadline_s:
            if self.line is None:
                self.tell_whisper("REGISTER")
            if not answered:
                self.tell_outbound("REGISTER")
            for ready in select.select([self._listener, self.udp], [], [], REGISTER_EVERY_S)[0]:
                if ready is self.udp:
                    answered = answered or self.udp.recv(999) == b"REGISTER:%d" % self.call_id
                elif self.line is None:
                    self._answer()
            if answered and self.line is not None:
                return self
        raise AssertionError(f"call {self.call_id} did not come about in {PATIENCE_S} s")

    def wait_for_whisper(self):
        self._listener.settimeout(PATIENCE_S)
        self._answer()

    def _answer(self):
        self.line, _ = self._listener.accept()
        self.line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.line.sendall(frames.encode_hello(str(self.call_id)))
        self._began_s = time.monotonic()

    def tell_whisper(self, verb):
        self._tell(verb, self.stack.register_port("whisper"))

    def tell_outbound(self, verb):
        self._tell(verb, self.stack.port("outbound", "register", self.call_id))

    def _tell(self, verb, port):
        self.udp.sendto(datagrams.Datagram(verb, str(self.call_id)).encode(), (HOST, port))

    def say(self, las, *, hurry=False):
        """Make so many tenths of a second of sound. In a hurry, whisper takes it for a recording and waits for BYE."""
        self.said.append(las)
        # Together more silence than the 250 ms that whisper keeps from before an utterance.
        audio = np.concatenate((silence(0.1), tone(las / 10), silence(0.18)))
        if not hurry:
            # A caller is never far ahead of the clock.
            lead_s = self._sent_s + len(audio) / frames.AUDIO_IN_HZ - (time.monotonic() - self._began_s)
            time.sleep(max(0.0, lead_s - 0.4))
        self._sent_s += len(audio) / frames.AUDIO_IN_HZ
        with contextlib.suppress(OSError):  # what became of the line is seen in what is heard
            self.line.sendall(frames.encode_audio_in(audio))

    def bye(self):
        """Say that nothing more will come; what was said is still answered."""
        with contextlib.suppress(OSError):
            self.line.sendall(frames.encode_control("bye", frames.Layout.AUDIO_IN))

    def hear(self, until=("end", "bye", "closed")):
        """The next reply, up to one of `until`."""
        deadline_s = time.monotonic() + PATIENCE_S
        packets, gaps, last = 0, 0, None
        watched = [self.udp] + ([self.line] if "closed" in until else [])
        while (left_s := deadline_s - time.monotonic()) > 0:
            ready = select.select(watched, [], [], left_s)[0]
            if self.udp in ready:
                data = self.udp.recv(999)
                if (packet := rtp.decode(data)) is not None:
                    packets += 1
                    gaps += last is not None and (packet.sequence - last) % 2**16 != 1
                    last = packet.sequence
                else:
                    ended = data.partition(b":")[0].decode().lower()
                    if ended in until:
                        return self._note(Heard(packets, gaps, ended))
            elif self.line in ready and not _more(self.line):
                return self._note(Heard(packets, gaps, "closed"))
        raise AssertionError(f"call {self.call_id} heard {packets} packets and then nothing for {PATIENCE_S} s")

    def _note(self, heard):
        if heard.las:  # what was cut off is nobody's reply, and so is lost
            self.heard.append(heard.las)
        return heard

    def hear_packet(self):
        """Wait until a reply is under way. Its first packet stays where it is."""
        self.udp.settimeout(PATIENCE_S)
        while rtp.decode(self.udp.recv(999, socket.MSG_PEEK)) is None:
            self.udp.recv(999)  # an answer to a REGISTER that was repeated

    def turn(self, las):
        self.say(las)
        return self.hear()

    def finish(self):
        """BYE, and whatever is still heard until outbound says it too."""
        self.bye()
        heard = self.hear(until=("bye",))
        self.close()
        return heard

    def hang_up(self):
        """Go without a word on the line. The id is free when outbound has heard of it."""
        address = f"{HOST}:{self.udp.getsockname()[1]}"
        said = [f"call {self.call_id}: {address} hung up", f"call {self.call_id}: BYE from {address}"]
        before = len(self.stack.log("outbound"))
        self.go()
        until(lambda: any(line in self.stack.log("outbound")[before:] for line in said), "outbound to hear BYE")

    def go(self):
        """Say BYE to whoever is there, and wait for nothing."""
        for tell in (self.tell_whisper, self.tell_outbound):
            tell("BYE")
        self.close()

    def close(self):
        self.stack.callers.discard(self)
        for each in (self._listener, self.udp, self.line):
            if each is not None:
                each.close()


def _more(line):
    try:
        return line.recv(65_536)
    except OSError:
        return b""
