"""The reference stack: whisper → llama → kokoro → outbound, as a spec. Nothing of it is imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_voiceloop.stack.spec import CALLER, Link, Pace, Port, Service, Slots, SpecError, StackSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PORTS: Mapping[str, Mapping[str, Port]] = {
    "whisper": {"register": Port("udp", 13_000)},
    "llama": {"listen": Port("tcp", 8_083)},
    "kokoro": {"listen": Port("tcp", 8_090), "register": Port("udp", 13_001)},
    "outbound": {"audio": Port("tcp", 9_002, per_call=True), "register": Port("udp", 13_000, per_call=True)},
    CALLER: {"audio": Port("tcp", 9_001, per_call=True)},
}
"""The seed's plan."""

_ADDRESSES: Mapping[str, tuple[str, ...]] = {
    "whisper": ("--register", "{whisper.register}", "--caller", "{caller.audio}", "--llama", "{llama.listen}"),
    "llama": ("--listen", "{llama.listen}", "--kokoro", "{kokoro.listen}"),
    "kokoro": ("--listen", "{kokoro.listen}", "--register", "{kokoro.register}", "--outbound", "{outbound.audio}"),
    "outbound": ("--listen", "{outbound.audio}", "--register", "{outbound.register}", "--kokoro", "{kokoro.register}"),
}
_SCRIPTED_SILENCE = ("--endpoint-silence-ms", "300", "--endpoint-silence-unfinished-ms", "700")
SERVICES = tuple(_ADDRESSES)
SLOTS = Slots(count=7, step=2)
"""Every second call id: outbound's port of one call is the caller's of the next in the seed's plan."""
LINKS = (
    Link("stt_llm", "whisper", "llama", "listen"),
    Link("llm_tts", "llama", "kokoro", "listen"),
    Link("tts_out", "kokoro", "outbound", "audio", "voiceloop-audio"),
)


def service(name: str, *options: str) -> Service:
    """One service of the reference stack, with further command-line options of its own."""
    command = ("{python}", "-m", f"voiceloop_services.{name}", "--calls", "{calls}", *_ADDRESSES[name], *options)
    return Service(name, command, PORTS[name], env={"PYTHONUNBUFFERED": "1"})


def reference_stack(
    pace: Pace = "asap",
    *,
    options: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
    scripted: bool = False,
) -> StackSpec:
    """The reference stack.

    `options` gives further command-line options by service name, such as ``{"whisper": ["--model", "tiny.en"]}``.
    `seed` is llama's. With `scripted` the engines say fixed texts and tones: for testing a harness, nothing else.
    Raises SpecError for options of a service that it does not have.
    """
    for name in options or {}:
        if name not in SERVICES:
            raise SpecError(f"options are given for {name!r}; the reference stack has {', '.join(SERVICES)}")
    further = {name: list((options or {}).get(name, ())) for name in SERVICES}
    further["llama"] = ["--seed", str(seed), *further["llama"]]
    further["outbound"] = ["--pace", pace, *further["outbound"]]
    if scripted:
        for name in ("whisper", "llama", "kokoro"):
            further[name] = ["--engine", "scripted", *further[name]]
        # A script has nothing to do while the caller may still go on, so the silence would only be waited out.
        further["whisper"] = [*_SCRIPTED_SILENCE, *further["whisper"]]
    services = tuple(service(name, *further[name]) for name in SERVICES)
    return StackSpec(services, LINKS, {(CALLER, "audio"): PORTS[CALLER]["audio"]}, pace, SLOTS, scripted)
