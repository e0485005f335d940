"""``python -m voiceloop_services.kokoro``."""

from __future__ import annotations

from typing import NoReturn

from voiceloop_services import runtime
from voiceloop_services.kokoro import engines, service


def main() -> NoReturn:
    """Run the service until it is told to stop."""
    parser = runtime.parser(
        "kokoro", engines.ENGINES, "Text to speech: speaks llama's text and passes the audio to the outbound processor."
    )
    parser.add_argument(
        "--listen",
        type=runtime.address,
        default="127.0.0.1:8090",
        metavar="HOST:PORT",
        help="llama connects here (TCP)",
    )
    parser.add_argument(
        "--register",
        type=runtime.address,
        default="127.0.0.1:13001",
        metavar="HOST:PORT",
        help="outbound registers calls here (UDP)",
    )
    parser.add_argument(
        "--outbound",
        type=runtime.address,
        default="127.0.0.1:9002",
        metavar="HOST:BASE",
        help="connect to outbound at TCP port BASE + call id",
    )
    engines.add_options(parser)
    options = parser.parse_args()
    highest_id = options.calls.ids()[-1]
    if options.outbound[1] + highest_id > 65_535:
        parser.error(
            f"argument --outbound: base {options.outbound[1]} + call id {highest_id} is no port; choose a lower base"
        )
    runtime.run("kokoro", options, lambda log: service.serve(options, log))


if __name__ == "__main__":
    main()
