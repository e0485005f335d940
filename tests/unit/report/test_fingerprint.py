import copy

import pytest
from report_documents import WHISPER, document, one_test, turn

from pytest_voiceloop.report.document import environment
from pytest_voiceloop.report.fingerprint import differences, fingerprint, obstacles

LLAMA = WHISPER | {"name": "llama", "engine": "llama-cpp", "model": "small", "settings": {"threads": 2, "seed": 0}}


def run(*turns, services=(WHISPER, LLAMA), **machine):
    made = document(one_test(*(turns or (turn(),))), services=services)
    made["environment"] |= {"cpu": "A", "cores": 2, "memory_mib": 24105, "normaliser": "n 1"} | machine
    return fingerprint(made)


def test_like_runs_can_be_compared_and_do_not_differ():
    assert obstacles(run(), run()) == differences(run(), run()) == []


@pytest.mark.parametrize(
    ("other", "sentence"),
    [
        (run(cpu="B"), "the machine's cpu: A there, B here"),
        (run(cores=8), "the machine's cores: 2 there, 8 here"),
        (run(memory_mib=8000), "the machine's memory_mib: 24105 there, 8000 here"),
        (run(normaliser="n 2"), "the normaliser: n 1 there, n 2 here"),
        (run(turn(judge="none")), "the judge: stt there, none here"),
        (run(turn(pace="realtime")), "the pace: asap there, realtime here"),
        (run(turn(flags=("contended",))), "concurrency: alone there, several workers here"),
        (run(turn(said="Other words.")), "the corpus default has changed: utterances of one name differ in text"),
    ],
    ids=["cpu", "cores", "memory", "normaliser", "judge", "pace", "concurrency", "corpus"],
)
def test_what_cannot_be_compared_is_named(other, sentence):
    (found,) = obstacles(run(), other)
    assert found.startswith(sentence)


def test_another_corpus_is_named():
    other = copy.deepcopy(run())
    other["corpus"] = {"mine": other["corpus"]["default"]}
    assert obstacles(run(), other) == ["the corpus: default there, mine here"]


def test_memory_may_differ_by_what_a_kernel_keeps():
    assert obstacles(run(), run(memory_mib=24000)) == []


def test_what_an_older_document_does_not_say_is_no_obstacle():
    assert obstacles(run(normaliser=None, cpu=None), run()) == []


def test_part_of_a_corpus_is_the_same_corpus():
    assert obstacles(run(turn("one"), turn("two")), run(turn("two"), turn("three"))) == []


def test_a_changed_service_is_named_and_no_obstacle():
    faster = LLAMA | {"model": "large", "settings": {"threads": 1, "seed": 0}, "cold_start_ms": 5.0, "pid": 7}
    other = run(services=(WHISPER, faster))
    assert obstacles(run(), other) == []
    assert differences(run(), other) == [
        "llama's model: small there, large here; other replies are to be expected",
        "llama's threads: 2 there, 1 here",
    ]


def test_a_service_that_only_one_side_has_is_named():
    assert differences(run(), run(services=(WHISPER,))) == ["llama: only there"]


def test_the_base_of_an_interleaved_run_has_a_fingerprint_of_its_own():
    made = document(
        one_test(turn(), base_turns=[turn("other")]), services=(WHISPER, WHISPER | {"base": True, "model": "tiny"})
    )
    found = fingerprint(made, base=True), fingerprint(made)
    assert [list(one["corpus"]["default"]) for one in found] == [["other"], ["canoe"]]
    assert differences(*found) == ["whisper's model: tiny there, base here"]


def test_the_environment_names_the_normaliser():
    assert "EnglishTextNormalizer" in environment()["normaliser"]
