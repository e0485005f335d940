import pytest

TRIES = []


def test_is_answered(voiceloop_simulator, clip):
    assert voiceloop_simulator.say(clip, text="Hello there, you.").reply.text


@pytest.mark.latency(total="1ms")
def test_takes_too_long(voiceloop_simulator, clip):
    voiceloop_simulator.say(clip, text="Hello there, you.")


@pytest.mark.flaky(reruns=1)
def test_fails_at_first(voiceloop_simulator, clip):
    TRIES.append(voiceloop_simulator.say(clip, text="Hello there, you."))
    assert len(TRIES) == 2


@pytest.mark.asyncio
async def test_in_a_coroutine(voiceloop_simulator, clip):
    import asyncio

    turn = await asyncio.to_thread(voiceloop_simulator.say, clip, text="Hello there, you.")
    assert turn.reply.text
