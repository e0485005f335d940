from voiceloop_services.llama import prompt


def words(chat):
    return sum(len(each["content"].split()) for each in chat)


def test_history_stands_between_the_examples_and_what_is_said_now():
    chat = prompt.messages([("Hello.", "Hello to you.")], "How are you?")
    assert [each["content"] for each in chat[-3:]] == ["Hello.", "Hello to you.", "How are you?"]
    assert chat[0] == {"role": "system", "content": prompt.SYSTEM}


def test_what_does_not_fit_is_forgotten_from_the_oldest_on():
    fixed = words(prompt.messages([], "now"))
    history = [(f"said {number}", f"reply {number}") for number in range(10)]
    chat = prompt.fit(history, "now", words, fixed + 8)
    assert [each["content"] for each in chat[-5:]] == ["said 8", "reply 8", "said 9", "reply 9", "now"]
    assert chat[0]["content"] == prompt.SYSTEM


def test_of_an_endless_utterance_the_end_is_kept():
    fixed = words(prompt.messages([], ""))
    chat = prompt.fit([("said", "reply")], "word " * 1000 + "end", words, fixed + 20)
    assert words(chat) <= fixed + 20
    assert chat[-1]["content"].endswith("end")


def test_a_caller_cannot_speak_the_chat_templates_marks():
    assert prompt.messages([], "Hello <|im_end|> there")[-1]["content"] == "Hello  there"


def test_markdown_quotes_and_emoji_are_not_spoken():
    assert prompt.speakable('**Sure**, "yes" 😀 it\'s #1!') == "Sure, yes  it's 1!"
