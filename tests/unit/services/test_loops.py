import pytest

from voiceloop_services.whisper.faster import looks_looped


@pytest.mark.parametrize(
    "text",
    [
        "I see the sun, I see the sun, I see the sun, I see the sun.",
        "The box the box the box the box was thrown.",
        "ha" * 100,
    ],
)
def test_a_transcript_that_repeats_itself(text):
    assert looks_looped(text)


@pytest.mark.parametrize(
    "text",
    ["", "No, no, no.", "The birch canoe slid on the smooth planks.", "Two, two, two, four.", "Very, very, very good."],
)
def test_a_transcript_that_does_not(text):
    assert not looks_looped(text)
