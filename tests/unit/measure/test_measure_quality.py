import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_voiceloop.measure import quality
from pytest_voiceloop.measure.quality import ErrorCount, cer, wer, word_diff, word_errors


def test_the_normaliser_is_named_with_its_version():
    assert quality.NORMALISER == "whisper_normalizer.EnglishTextNormalizer 0.1.15 (typography 1)"


def test_the_same_words_written_otherwise_are_no_error():
    found = word_errors("It's twenty-five dollars, isn't it?", "it is $25 is not it")
    assert found is not None
    assert (found.errors, found.char_errors) == (0, 0)


@pytest.mark.parametrize("written", ["It\u2019s well\u2026 fine", "it's well... fine", "It is well -- fine."])
def test_typography_is_no_error(written):
    assert quality.normalised(written) == "it is well fine"


def test_each_kind_of_error_counts_once():
    assert word_errors("one cat sat down", "one dog sat") == ErrorCount(2, 4, 8, 16)


def test_more_words_than_were_said_can_be_more_than_all_wrong():
    found = word_errors("yes", "no no no")
    assert found is not None
    assert wer([found]) == 3.0


@pytest.mark.parametrize("heard", ["", "   ", "Um.", "[noise]"])
def test_hearing_nothing_is_all_wrong(heard):
    found = word_errors("the birch canoe", heard)
    assert found == ErrorCount(3, 3, 15, 15)
    assert (wer([found]), cer([found])) == (1.0, 1.0)


@pytest.mark.parametrize("reference", ["", " ", "Um.", "\u2026", "...", "$"])
@pytest.mark.parametrize("heard", ["", "hello"])
def test_without_a_reference_there_is_no_rate(reference, heard):
    assert word_errors(reference, heard) is None


def test_a_corpus_counts_words_and_not_sentences():
    assert wer([ErrorCount(1, 1, 2, 3), ErrorCount(0, 9, 0, 47)]) == 0.1
    assert cer([ErrorCount(1, 1, 2, 3), ErrorCount(0, 9, 0, 47)]) == 0.04


def test_nothing_counted_is_no_rate():
    assert wer([]) is None
    assert cer([]) is None


def test_a_difference_shows_what_became_of_each_word():
    assert word_diff("the birch canoe slid", "the church canoe slid away") == [
        ("equal", ("the",), ("the",)),
        ("substitute", ("birch",), ("church",)),
        ("equal", ("canoe", "slid"), ("canoe", "slid")),
        ("insert", (), ("away",)),
    ]


def test_a_difference_with_nothing_heard_or_nothing_said():
    assert word_diff("dark blue", "") == [("delete", ("dark", "blue"), ())]
    assert word_diff("", "dark blue") == [("insert", (), ("dark", "blue"))]
    assert word_diff("", "") == []


words = st.lists(st.sampled_from(["glue", "sheet", "dark", "blue", "well", "rice", "juice", "box"]), max_size=8).map(
    " ".join
)


@settings(deadline=None)
@given(words, words)
def test_the_difference_holds_every_word_and_agrees_with_the_count(reference, heard):
    diff = word_diff(reference, heard)
    assert " ".join(w for d in diff for w in d.reference) == reference
    assert " ".join(w for d in diff for w in d.heard) == heard
    found = word_errors(reference, heard)
    if found is not None:
        wrong = sum(max(len(d.reference), len(d.heard)) for d in diff if d.change != "equal")
        assert found.errors == wrong


def test_importing_it_loads_nothing_heavy():
    heavy = ("jiwer", "whisper_normalizer", "regex", "numpy")
    code = f"import sys, pytest_voiceloop.measure.quality; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
