"""``python -m voiceloop_services.llama``: the language model service."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from voiceloop_services import runtime
from voiceloop_services.llama import engines
from voiceloop_services.llama.service import Llama

if TYPE_CHECKING:
    import argparse
    import logging

MODEL = "smollm2-135m"


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's options."""
    parser = runtime.parser("llama", engines.ENGINES, "Answers what was said, clause by clause.")
    add = parser.add_argument
    add("--listen", type=runtime.address, default="127.0.0.1:8083", help="where whisper connects, once per call")
    add("--kokoro", type=runtime.address, default="127.0.0.1:8090", help="where the replies go")
    add("--model", default=MODEL, metavar="NAME_OR_PATH", help="see voiceloop models list")
    add("--seed", type=int, default=0, help="of the sampler; replies are greedy, so it matters little")
    add("--threads", type=int, default=0, help="0: as many as there are cores, at most 4")
    add("--max-tokens", type=int, default=48, help="longest reply")
    add("--script-reply", action="append", metavar="TEXT", help="scripted: a call's next reply; the last repeats")
    add("--script-delay-ms", type=int, default=0, help="scripted: how long the first clause takes")
    return parser.parse_args(arguments)


def load(options: argparse.Namespace) -> engines.Writer:
    """The engine that was asked for. Raises runtime.MissingError."""
    if options.engine == "scripted":
        return engines.ScriptedWriter(options.script_reply or ["You said: {said}"], options.script_delay_ms)
    from voiceloop_services import models
    from voiceloop_services.llama.cpp import LlamaCpp

    return LlamaCpp(options, models.locate(MODEL, options.model))


def main() -> NoReturn:
    """Run the service until it is told to stop."""
    options = parse()

    def serve(log: logging.Logger) -> NoReturn:
        engine = load(options)
        listener = runtime.listen_tcp(options.listen)
        runtime.announce_ready("llama", engine)
        Llama(options, engine, log).serve(listener)

    runtime.run("llama", options, serve)


if __name__ == "__main__":
    main()
