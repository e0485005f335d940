"""Every line of what `voiceloop init` writes is good."""

import re
from pathlib import Path

from pytest_voiceloop.config import STARTER, Config, load

SETTING = re.compile(r"^#(?=\w)", re.MULTILINE)


def loaded(folder: Path, text: str) -> Config:
    path = folder / "voiceloop.toml"
    path.write_text(text)
    return load(path)


def test_as_it_is_written(tmp_path: Path) -> None:
    found = loaded(tmp_path, STARTER.read_text())
    spec = found.stack()
    assert spec is not None
    assert {link.role for link in spec.links} == {"stt_llm", "llm_tts", "tts_out"}
    assert [budget.metric for budget in found.profile("ci")] == ["voice_to_voice", "loop_wer"]


def test_with_every_setting_that_is_left_out(tmp_path: Path) -> None:
    text = STARTER.read_text()
    left_out = SETTING.findall(text)
    found = loaded(tmp_path, SETTING.sub("", text))
    assert len(left_out) >= 8
    written, whole = load(STARTER).stack(), found.stack()
    assert written is not None
    assert whole is not None
    # What is left out is what it would be anyway, but for what stands for a value of one's own.
    assert whole.links == written.links
    assert whole.service("whisper").stop_signal == written.service("whisper").stop_signal
    assert whole.service("llama").env == {"OMP_NUM_THREADS": "4"}
    assert [budget.percentile for budget in found.profile("ci")] == [95, None]
