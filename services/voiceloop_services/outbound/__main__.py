"""``python -m voiceloop_services.outbound``."""

from __future__ import annotations

from typing import NoReturn

from voiceloop_services import runtime


def main() -> NoReturn:
    """Run the service until it is told to stop."""
    parser = runtime.parser(
        "outbound", ("soxr-pcmu",), "Outbound audio processor: resamples kokoro's audio and sends it to callers as RTP."
    )
    parser.add_argument(
        "--listen",
        type=runtime.address,
        default="127.0.0.1:9002",
        metavar="HOST:BASE",
        help="kokoro connects to TCP port BASE + call id",
    )
    parser.add_argument(
        "--register",
        type=runtime.address,
        default="127.0.0.1:13000",
        metavar="HOST:BASE",
        help="callers register at UDP port BASE + call id, and their RTP comes from there",
    )
    parser.add_argument(
        "--kokoro", type=runtime.address, default="127.0.0.1:13001", metavar="HOST:PORT", help="kokoro's UDP port"
    )
    parser.add_argument(
        "--pace",
        choices=("asap", "realtime"),
        default="asap",
        help="send packets as soon as they are ready, or every 20 ms as a telephone line does",
    )
    options = parser.parse_args()
    highest_id = options.calls.ids()[-1]
    for option, (_, base) in (("--listen", options.listen), ("--register", options.register)):
        if base + highest_id > 65_535:
            parser.error(f"argument {option}: base {base} + call id {highest_id} is no port; choose a lower base")

    # soxr takes a moment to load, and --help does not need it.
    from voiceloop_services.outbound import service

    runtime.run("outbound", options, lambda log: service.serve(options, log))


if __name__ == "__main__":
    main()
