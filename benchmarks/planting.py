"""A service of the reference stack with a fault planted in it, which can be changed from turn to turn.

    python benchmarks/planting.py PLANT.json whisper --calls …

Runs ``voiceloop_services.<service>`` in this process after its engine has been wrapped. What is planted is read anew
whenever the engine works, from PLANT.json: ``{"service": "llama", "add_ms": 80}``, or nothing for another service.

    add_ms      so much later with the first thing that it makes of an input
    factor      so many times as long for everything that it makes
    loop        whisper says the end of its transcript over and over, half of the time
    drop        kokoro leaves out every tenth word
    speed       kokoro speaks so many times as fast
    lose        outbound loses this share of its packets
    gain_db     outbound turns the volume up, and clips
    low_pass_hz outbound lets nothing through above
"""

from __future__ import annotations

import importlib
import itertools
import json
import random
import runpy
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PLANT = Path(sys.argv[1])
SERVICE = sys.argv[2]
RTP_VERSION_2 = 0x80
"""First byte of a packet without padding, extension and contributors."""


def plant(name: str) -> float:
    """What is planted in this service at the moment; 0 for nothing."""
    now: dict[str, Any] = json.loads(PLANT.read_text())
    return float(now.get(name, 0)) if now.get("service") == SERVICE else 0.0


def slow(took_s: float, *, first: bool) -> None:
    """Wait as long as a slower engine would have worked on."""
    factor = plant("factor")
    time.sleep((plant("add_ms") / 1000 if first else 0.0) + (took_s * (factor - 1) if factor else 0.0))


def slowly(things: Iterator[Any]) -> Iterator[Any]:
    """The same things, each as much later as is planted."""
    first = True
    while True:
        since_s = time.monotonic()
        try:
            thing = next(things)
        except StopIteration:
            return
        slow(time.monotonic() - since_s, first=first)
        first = False
        yield thing


def whisper() -> None:
    engine: Any = importlib.import_module("voiceloop_services.whisper.faster").FasterWhisper
    # Seeded, and no alternation: every second call of a turn is the judge's.
    transcribe, dice = engine.transcribe, random.Random(3)  # noqa: S311 (nothing secret)

    def planted(self: Any, samples: Any, index: int) -> Any:
        since_s = time.monotonic()
        heard = transcribe(self, samples, index)
        slow(time.monotonic() - since_s, first=True)
        if plant("loop") and heard.text and dice.random() < 0.5:
            heard = replace(heard, text=" ".join([heard.text, *[" ".join(heard.text.split()[-3:])] * 4]))
        return heard

    engine.transcribe = planted


def llama() -> None:
    engine: Any = importlib.import_module("voiceloop_services.llama.cpp").LlamaCpp
    reply = engine.reply
    engine.reply = lambda self, *given: slowly(reply(self, *given))


def kokoro() -> None:
    engine: Any = importlib.import_module("voiceloop_services.kokoro.onnx_engine").OnnxSpeaker
    speak, inputs, said = engine.speak, engine._inputs, itertools.count()  # noqa: SLF001 (the only place that knows the speed)

    def planted(self: Any, text: str, made_s: float = 0.0) -> Any:
        if plant("drop"):
            text = " ".join(word for word in text.split() if next(said) % 10 != 4) or text
        return slowly(speak(self, text, made_s))

    def faster(self: Any, phonemes: str) -> Any:
        given = inputs(self, phonemes)
        return {**given, "speed": given["speed"] * given["speed"].dtype.type(plant("speed") or 1)}

    engine.speak, engine._inputs = planted, faster  # noqa: SLF001


def outbound() -> None:
    from scipy import signal

    from pytest_voiceloop.wire import rtp

    service: Any = importlib.import_module("voiceloop_services.outbound.service")
    encode, feed, read_frames = rtp.encode_ulaw, service.rtp_sender.Packetiser.feed, service.runtime.read_frames
    bind, dice = service.runtime.bind_udp, random.Random(5)  # noqa: S311 (nothing secret)

    def worse(samples: Any) -> bytes:
        gain_db, low_pass_hz = plant("gain_db"), plant("low_pass_hz")
        if gain_db:
            samples = np.clip(samples * 10 ** (gain_db / 20), -1, 1)
        if low_pass_hz and len(samples):
            samples = signal.sosfilt(signal.butter(8, low_pass_hz, fs=rtp.RATE_HZ, output="sos"), samples)
        return encode(np.asarray(samples, np.float32))

    def later(*given: Any) -> Iterator[Any]:
        for frame in read_frames(*given):
            if frame.kind == "audio" and frame.chunk_id == 1:
                slow(0.0, first=True)
            yield frame

    def longer(self: Any, *given: Any) -> Any:
        since_s = time.monotonic()
        made = feed(self, *given)
        slow(time.monotonic() - since_s, first=False)
        return made

    class Lossy:
        """A socket on which packets of sound get lost, and nothing else does."""

        def __init__(self, udp: Any) -> None:
            self._udp = udp

        def __getattr__(self, name: str) -> Any:
            return getattr(self._udp, name)

        def sendto(self, data: bytes, whom: Any) -> None:
            if data[0] != RTP_VERSION_2 or dice.random() >= plant("lose"):
                self._udp.sendto(data, whom)

    rtp.encode_ulaw = worse
    service.runtime.read_frames = later
    service.rtp_sender.Packetiser.feed = longer
    service.runtime.bind_udp = lambda *given: Lossy(bind(*given))


if __name__ == "__main__":
    wrap: dict[str, Callable[[], None]] = {"whisper": whisper, "llama": llama, "kokoro": kokoro, "outbound": outbound}
    wrap[SERVICE]()
    sys.argv = [f"voiceloop_services.{SERVICE}", *sys.argv[3:]]
    runpy.run_module(f"voiceloop_services.{SERVICE}", run_name="__main__")
