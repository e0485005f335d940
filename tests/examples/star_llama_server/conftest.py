"""A star: an orchestrator that asks three servers, one of them llama-cpp-python's own."""

from pathlib import Path

import pytest

from pytest_voiceloop import factories
from pytest_voiceloop.stack.spec import Caller, Judge, Link, Port, Ready, Service, StackSpec
from voiceloop_services.models import locate

HERE = Path(__file__).parent
HTTP = {"http": Port()}
LLAMA = (
    *("{python}", "-m", "llama_cpp.server", "--model", str(locate("smollm2-135m").path)),
    *("--host", "{llama.http.host}", "--port", "{llama.http.port}"),
    # It writes while another service speaks; two that wait for each other's threads are slower than one.
    *("--n_threads", "1", "--n_threads_batch", "1"),
)
LLAMA_READY = Ready("http", "http://{llama.http}/v1/models")
AGENT = ("{python}", str(HERE / "agent.py"), "{agent.ws}", "{stt.http}", "{llama.http}", "{tts.http}")

llama_alone = factories.service("llama", LLAMA, protocol="openai-chat", ready=LLAMA_READY)


def speech(role, *files):
    """One of the two servers of speech.py."""
    command = ("{python}", str(HERE / "speech.py"), role, f"{{{role}.http}}", *map(str, files))
    return Service(role, command, HTTP)


@pytest.fixture(scope="session")
def voiceloop_stack_spec():
    return StackSpec(
        services=(
            speech("stt", locate("whisper-base").folder),
            Service("llama", LLAMA, HTTP, ready=LLAMA_READY),
            speech("tts", locate("kokoro-82m-int8").path, locate("kokoro-voices").folder / "af_heart.bin"),
            Service("agent", AGENT, {"ws": Port()}),
        ),
        links=(
            Link("stt_llm", "agent", "stt", "http", "openai-transcription"),
            Link("llm_tts", "agent", "llama", "http", "openai-chat"),
            Link("tts_out", "agent", "tts", "http", "openai-speech"),
        ),
        neighbours={},
        caller=Caller("websocket", {"url": "ws://{agent.ws}/", "reply_rate_hz": 24_000, "end_message": "done"}),
        judge=Judge("openai", "stt", "http"),
    )
