import numpy as np
import pytest

from pytest_voiceloop.wire import codecs

SAMPLES = np.linspace(-1, 1, 101, dtype=np.float32)


@pytest.mark.parametrize(("codec", "off"), [("mulaw", 0.03), ("pcm_s16le", 1 / 32768), ("pcm_f32le", 0)])
def test_samples_come_back(codec, off):
    back = codecs.decode(codecs.encode(SAMPLES, codec), codec)
    assert back.dtype == np.float32
    assert np.abs(back - SAMPLES).max() <= off


@pytest.mark.parametrize("codec", codecs.SAMPLE_BYTES)
def test_half_a_sample_is_left_out(codec):
    payload = codecs.encode(SAMPLES, codec)
    assert len(codecs.decode(payload[:-1], codec)) == len(SAMPLES) - 1


def test_floats_that_are_no_sound_are_made_one():
    wild = np.array([np.nan, np.inf, -np.inf, 1e30, 0.5], np.float32)
    assert codecs.decode(wild.tobytes(), "pcm_f32le").tolist() == [0, 1, -1, 1, 0.5]
