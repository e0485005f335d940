"""The reference stack with Wyoming's faster-whisper in whisper's place, and ear.py in between."""

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_voiceloop.stack.reference import reference_stack
from pytest_voiceloop.stack.spec import Judge, Link, Port, Ready, Service
from voiceloop_services.models import locate

HERE = Path(__file__).parent
WYOMING = Service(
    "wyoming",
    (
        *("{python}", "-m", "wyoming_faster_whisper", "--uri", "tcp://{wyoming.asr}"),
        *("--model", str(locate("whisper-base").folder), "--data-dir", str(HERE), "--local-files-only"),
        *("--stt-library", "faster-whisper", "--language", "en", "--beam-size", "1", "--compute-type", "int8"),
        *("--cpu-threads", "2", "--vad-endpointing", "0.7"),
    ),
    {"asr": Port()},
    # It says that it is ready before it listens.
    ready=Ready("tcp", "{wyoming.asr}", send='{"type": "describe"}\n', expect='"type": "info"'),
)
EAR = ("{python}", str(HERE / "ear.py"), "{whisper.register}", "{caller.audio}", "{llama.listen}", "{wyoming.asr}")


@pytest.fixture(scope="session")
def voiceloop_stack_spec(voiceloop_pace):
    reference = reference_stack(voiceloop_pace)
    whisper, *others = reference.services
    return replace(
        reference,
        services=(WYOMING, replace(whisper, command=EAR), *others),
        links=(Link("stt_llm", "whisper", "wyoming", "asr", "wyoming"), *reference.links[1:]),
        judge=Judge("wyoming", "wyoming", "asr"),
    )
