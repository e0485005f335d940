"""``python -m voiceloop_services.whisper``: the speech-to-text service."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from voiceloop_services import runtime
from voiceloop_services.whisper import engines
from voiceloop_services.whisper.service import Whisper

if TYPE_CHECKING:
    import argparse
    import logging

MODEL = "whisper-base"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's options."""
    parser = runtime.parser("whisper", engines.ENGINES, "Hears calls and passes on what was said, as text.")
    add = parser.add_argument
    add("--register", type=runtime.address, default="127.0.0.1:13000", help="UDP address for REGISTER and BYE")
    add(
        "--caller",
        type=runtime.address,
        default="127.0.0.1:9001",
        metavar="HOST:BASE",
        help="callers listen on BASE + id",
    )
    add("--llama", type=runtime.address, default="127.0.0.1:8083", help="where the text goes")
    add("--endpoint-silence-ms", type=int, default=750, help="silence that ends an utterance")
    add(
        "--endpoint-silence-unfinished-ms",
        type=int,
        default=1000,
        help="silence that ends an utterance whose early transcript looks unfinished",
    )
    add("--early-silence-ms", type=int, default=96, help="silence worth an early transcript; 0 for none")
    add("--model", default=MODEL, metavar="NAME_OR_PATH", help="see voiceloop models list")
    add("--beam", type=int, default=1, help="beam size")
    add("--window-s", type=float, default=20, help="shortest window the decoder sees; 30 is whisper's own")
    add("--threads", type=int, default=0, help="0: as many as there are cores, at most 4")
    add(
        "--script-text",
        action="append",
        metavar="TEXT",
        help="scripted: a call's next transcript; the last repeats; {la} is one la per 100 ms of sound",
    )
    add("--script-delay-ms", type=int, default=0, help="scripted: how long a transcription takes")
    return parser.parse_args(arguments)


def load(options: argparse.Namespace, log: logging.Logger) -> engines.Transcriber:
    """The engine that was asked for. Raises runtime.MissingError."""
    if options.engine == "scripted":
        return engines.ScriptedTranscriber(
            options.script_text or ["This is a scripted transcript."], options.script_delay_ms
        )
    from voiceloop_services import models
    from voiceloop_services.whisper.faster import FasterWhisper

    return FasterWhisper(options, models.locate(MODEL, options.model), log)


def main() -> NoReturn:
    """Run the service until it is told to stop."""
    options = parse()

    def serve(log: logging.Logger) -> NoReturn:
        bound = runtime.bind_udp(options.register)
        service = Whisper(options, load(options, log), log)
        runtime.announce_ready("whisper", service)
        service.serve(bound)

    runtime.run("whisper", options, serve)


if __name__ == "__main__":
    main()
