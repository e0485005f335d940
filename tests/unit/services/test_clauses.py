import pytest

from voiceloop_services.llama.clauses import clauses


def spoken(text, **options):
    """The clauses of a text that comes character by character: the hardest way."""
    return list(clauses(iter(text), **options))


def test_sentences_are_clauses():
    assert spoken("I hear you well. It is a fine day! Do you agree?") == [
        "I hear you well.",
        "It is a fine day!",
        "Do you agree?",
    ]


def test_the_first_clause_ends_at_a_comma_and_later_ones_do_not():
    assert spoken("A canoe on planks, that sounds quite fast. It slid, it turned, it stopped there.") == [
        "A canoe on planks,",
        "that sounds quite fast.",
        "It slid, it turned, it stopped there.",
    ]


@pytest.mark.parametrize("text", ["Yes. I can hear you.", "Oh, I see what you mean now.", "No, no, no."])
def test_a_short_first_clause_is_spoken_with_the_next(text):
    assert spoken(text) == [text]


def test_two_words_are_not_left_behind_a_comma():
    assert spoken("A chicken leg is a delightful treat, isn't it? I think so.", brief=False) == [
        "A chicken leg is a delightful treat, isn't it?",
        "I think so.",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "That will be 12.50 in all, sir.",
        "The total is 1,250 dollars today.",
        "Ask Dr. Brown about it tomorrow.",
        "We open at 9 a.m. every single day.",
        "Take J. Smith with you tomorrow.",
        "It leaves at 10:30 this very morning.",
    ],
)
def test_numbers_and_abbreviations_stay_whole(text):
    assert spoken(text) == [text]


def test_a_sentence_may_end_with_the_word_i():
    assert spoken("So do you and I. We are friends now.") == ["So do you and I.", "We are friends now."]


def test_a_long_sentence_is_cut_at_a_comma():
    long = (
        "It was one of those very long sentences that go on and on without ever coming to an end, and then some more."
    )
    assert spoken(f"I will say it now. {long}")[1:] == [long[: long.index(",") + 1], "and then some more."]


def test_a_clause_comes_before_the_text_is_complete():
    pieces = iter(["I hear", " you well.", " And", " what", None])
    assert next(clauses(pieces)) == "I hear you well."


def test_pieces_may_cut_anywhere():
    text = "I hear you well. It is a fine day, and the sun is out."
    assert list(clauses([text])) == spoken(text)


def test_nothing_gives_no_clause():
    assert spoken(" ") == []


def test_a_brief_reply_ends_after_one_sentence_that_is_long_enough():
    text = "It is a very fine day for a walk."
    assert spoken(f"{text} The sun is out now. ", brief=True) == [text]


def test_a_brief_reply_ends_after_two_sentences():
    assert spoken("I do think so. You are right. We go on.", brief=True) == ["I do think so.", "You are right."]


def test_a_brief_reply_drops_what_the_limit_cut_off():
    assert spoken("I do think so. Then the other one was", brief=True) == ["I do think so."]
    assert spoken("Then the other one was", brief=True) == ["Then the other one was"]


def test_without_brief_nothing_is_dropped():
    assert spoken("I do think so. Then the other one was") == ["I do think so.", "Then the other one was"]
