"""What turns text into speech: Kokoro-82M on onnxruntime or on PyTorch, or a script.

All speak mono float32 at 24 kHz and none keeps anything between two texts.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Protocol

from voiceloop_services import runtime
from voiceloop_services.kokoro import scripted
from voiceloop_services.kokoro.voices import Voice

if TYPE_CHECKING:
    import logging
    from collections.abc import Iterator

    from voiceloop_services.kokoro.sound import Chunk


ENGINES = ("kokoro-onnx", "kokoro", "scripted")
WARM_UP = (
    "Sure.",
    "That sounds like a good plan to me.",
    "The weather was fine this morning, so we took the long way home and stopped at the bakery for bread.",
)
"""onnxruntime plans its memory anew for lengths it has not seen; these are a reply's lengths."""


class Speaker(runtime.Engine, Protocol):
    """A loaded engine. It may be called from several threads."""

    def speak(self, text: str, made_s: float = 0.0) -> Iterator[Chunk]:
        """The spoken text in chunks, as they are made; no chunk where there is nothing to say.

        Hardly any silence is left before the text, and sound.TAIL_MARGIN_MS after it. `made_s` is how much audio of the
        same reply was made before: the more, the longer a chunk may take.
        """
        ...


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of all engines."""
    parser.add_argument(
        "--model", metavar="NAME_OR_PATH", help="a named model, an .onnx or a .pth file; default: the engine's own"
    )
    parser.add_argument("--voice", default="af_heart", help="a voice of kokoro-voices, or a raw float32 .bin file")
    parser.add_argument("--speed", type=_speed, default=1.0, help="0.5 to 2")
    parser.add_argument(
        "--threads", type=_threads, default=min(4, os.cpu_count() or 1), metavar="N", help="threads of one synthesis"
    )
    scripted.add_script_options(parser)


def make_speaker(options: argparse.Namespace, log: logging.Logger) -> Speaker:
    """The engine that the command line asks for, loaded and warmed up.

    Raises runtime.MissingError for a model, voice, library or device that is not there.
    """
    if options.engine == "scripted":
        return scripted.ScriptedSpeaker.from_options(options, log)
    voice = Voice.find(options.voice, log)
    speaker: Speaker
    if options.engine == "kokoro":
        from voiceloop_services.kokoro.torch_engine import TorchSpeaker

        speaker = TorchSpeaker(options, voice, log)
    else:
        from voiceloop_services.kokoro.onnx_engine import OnnxSpeaker

        speaker = OnnxSpeaker(options, voice, log)
    for text in WARM_UP:
        for _ in speaker.speak(text):
            pass
    return speaker


def _speed(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0.5 <= number <= 2.0:
        raise argparse.ArgumentTypeError(f"{text!r} is no speed from 0.5 to 2")
    return number


def _threads(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of threads")
    return int(text)
