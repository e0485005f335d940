import gzip
import json
import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from passing import answer, bytewise, chunked, cut, fed, in_short, joined, request, spoiled

from pytest_voiceloop.wire.http import MAX_BODY_BYTES
from pytest_voiceloop.wire.openai import CHAT

PATH = "/v1/chat/completions"


def ask(*messages):
    return request(PATH, json.dumps({"messages": messages, "stream": True}).encode())


def user(content):
    return {"role": "user", "content": content}


def event(content, **of_choice):
    delta = {} if content is None else {"content": content}
    return f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta, **of_choice}]})}\n\n".encode()


DONE = b"data: [DONE]\n\n"
QUESTION = ask({"role": "system", "content": "Be brief."}, user("What is it?"))
STREAMED = chunked([event("", finish_reason=None), event("It is"), event(" a plug."), event(None), DONE])
PLAIN = answer(json.dumps({"choices": [{"message": {"role": "assistant", "content": "It is a plug."}}]}).encode())
ASKED = [("forward", "text", "What is it?"), ("forward", "end", "")]
DELTAS = [("back", "delta", "It is"), ("back", "delta", " a plug.")]
REPLIED = [("back", "text", "It is a plug."), ("back", "end", "")]


def said(*steps):
    return in_short(fed(CHAT, list(steps)))


def streamed(*chunks, **how):
    return [("back", data) for data in chunked(list(chunks), **how)]


def test_what_the_user_said_last_is_the_transcript():
    messages = [user("Hello."), {"role": "assistant", "content": "Hi."}, user("What is it?")]
    assert said(("forward", ask(*messages))) == ASKED


def test_the_text_parts_of_a_message_are_the_transcript():
    parts = [
        {"type": "text", "text": "What"},
        {"type": "image_url", "image_url": {}},
        {"type": "text", "text": "is it?"},
    ]
    assert said(("forward", ask(user(parts)))) == ASKED


def test_a_request_that_brings_a_tools_result_repeats_no_transcript():
    assert said(("forward", ask(user("What is it?"), {"role": "tool", "content": "12 degrees"}))) == []


def test_each_delta_passes_when_its_event_is_complete():
    conversation = CHAT.open()
    assert in_short(conversation.feed("forward", QUESTION)) == ASKED
    at_each = [in_short(conversation.feed("back", data)) for data in STREAMED]
    assert at_each == [[], [], DELTAS[:1], DELTAS[1:], [], [("back", "end", "")], []]


def test_a_stream_without_done_ends_with_the_answer():
    assert said(("forward", QUESTION), *streamed(event("Yes."))) == [
        *ASKED, ("back", "delta", "Yes."), ("back", "end", "")
    ]  # fmt: skip


def test_half_a_character_is_replaced():
    half = b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d!"}}]}\n\n'
    assert said(("forward", QUESTION), *streamed(half, DONE))[2:] == [("back", "delta", "?!"), ("back", "end", "")]


def test_only_the_first_choice_is_the_reply():
    other = b'data: {"choices":[{"index":1,"delta":{"content":"No."}},{"index":0,"delta":{"content":"Yes."}}]}\n\n'
    assert said(("forward", QUESTION), *streamed(other, DONE))[2:] == [("back", "delta", "Yes."), ("back", "end", "")]


def test_what_the_model_thinks_is_no_reply():
    thought = b'data: {"choices":[{"index":0,"delta":{"reasoning_content":"The user asks"}}]}\n\n'
    assert said(("forward", QUESTION), *streamed(thought, DONE))[2:] == [("back", "end", "")]


def test_comments_other_fields_and_cr_lf_belong_to_event_streams():
    stream = b": ping\r\nevent: x\r\nid: 3\r\n" + event("Yes.").replace(b"\n", b"\r\n") + DONE
    assert said(("forward", QUESTION), *streamed(stream))[2:] == [("back", "delta", "Yes."), ("back", "end", "")]


def test_a_plain_answer_is_text_and_end():
    assert said(("forward", QUESTION), ("back", PLAIN)) == [*ASKED, *REPLIED]


def test_a_kept_alive_connection_carries_many_exchanges():
    once = [("forward", QUESTION), ("back", b"".join(STREAMED))]
    assert said(*once, *once, *once) == 3 * [*ASKED, *DELTAS, ("back", "end", "")]


def test_pipelined_requests_are_answered_in_order():
    refused = answer(b"busy", "text/plain", "503 Service Unavailable")
    passed = said(
        ("forward", QUESTION + request("/v1/models", method="GET") + QUESTION), ("back", PLAIN + PLAIN + refused)
    )
    assert passed == [*ASKED, *ASKED, *REPLIED, ("back", "failed", f"POST {PATH} was answered 503: busy")]


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_health_checks_on_the_same_connection_are_no_exchange(method):
    head = request("/health", method=method)
    ok = answer(b"ok", "text/plain").removesuffix(b"ok" if method == "HEAD" else b"")
    assert said(("forward", head), ("back", ok), ("forward", QUESTION), ("back", PLAIN)) == [*ASKED, *REPLIED]


def test_posts_to_other_paths_are_no_exchange():
    elsewhere = request("/v1/embeddings", b'{"input": "x"}')
    assert said(("forward", elsewhere), ("back", PLAIN)) == []


def test_a_query_and_a_prefix_do_not_hide_the_path():
    asked = QUESTION.replace(PATH.encode(), b"/openai/deployments/m/chat/completions?api-version=1")
    assert said(("forward", asked)) == ASKED


def test_an_interim_answer_is_none():
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    assert said(("forward", QUESTION), ("back", interim + PLAIN)) == [*ASKED, *REPLIED]


def test_an_answer_may_end_with_the_connection():
    close = b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + event("Yes.")
    assert said(("forward", QUESTION), ("back", close), ("back", b""))[2:] == [
        ("back", "delta", "Yes."), ("back", "end", "")
    ]  # fmt: skip


def test_a_refused_request_failed_and_the_retry_is_read():
    refused = answer(b'{"error":\n {"message": "loading model"}}', status="503 Service Unavailable")
    assert said(("forward", QUESTION), ("back", refused), ("forward", QUESTION), ("back", PLAIN)) == [
        *ASKED,
        ("back", "failed", f'POST {PATH} was answered 503: {{"error": {{"message": "loading model"}}}}'),
        *ASKED,
        *REPLIED,
    ]


def test_of_a_long_refusal_the_beginning_is_quoted():
    ((*_, why),) = said(("forward", QUESTION), ("back", answer(b"x" * 100_000, status="500 Oops")))[2:]
    assert why == f"POST {PATH} was answered 500: " + "x" * 300


def test_an_error_within_a_stream_failed():
    broken = b'data: {"error": {"message": "out of memory", "code": 500}}\n\n'
    assert said(("forward", QUESTION), *streamed(event("It is"), broken, DONE))[2:] == [
        ("back", "delta", "It is"),
        ("back", "failed", "the answer broke off: out of memory"),
    ]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"<html>", "it is no JSON"),
        (b"{}", "it holds no message: b'{}'"),
        (b"[" * 100_000, "it is no JSON"),
        (b"\xff", "it is no JSON"),
    ],
)
def test_an_answer_that_is_no_completion_failed(body, says):
    ((direction, kind, why),) = said(("forward", QUESTION), ("back", answer(body)))[2:]
    assert (direction, kind) == ("back", "failed")
    assert why.startswith(f"the answer to POST {PATH} cannot be read: {says}")


def test_an_answer_that_is_cut_short_failed():
    steps = [("forward", QUESTION), *(("back", data) for data in STREAMED[:3]), ("back", b"")]
    assert said(*steps)[2:] == [DELTAS[0], ("back", "failed", f"the answer to POST {PATH} was cut short")]


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 2"])
def test_a_request_that_is_not_answered_failed(begun):
    steps = [("forward", QUESTION), *([("back", begun)] if begun else []), ("back", b"")]
    ((_, kind, why),) = said(*steps)[2:]
    assert kind == "failed"
    assert PATH in why


def test_hanging_up_within_an_answer_takes_it_back():
    steps = [("forward", QUESTION), *(("back", data) for data in STREAMED[:3]), ("forward", b"")]
    rest = [("back", data) for data in STREAMED[3:4]]
    assert said(*steps, *rest, ("back", b""))[2:] == [DELTAS[0], ("back", "cancel", "")]


@pytest.mark.parametrize("first", ["forward", "back"])
def test_hanging_up_after_done_takes_nothing_back(first):
    steps = [("forward", QUESTION), *(("back", data) for data in STREAMED[:-1]), (first, b"")]
    assert said(*steps, ("back", b""))[2:] == [*DELTAS, ("back", "end", "")]


def test_one_who_closes_his_side_after_the_request_is_still_answered():
    assert said(("forward", QUESTION), ("forward", b""), ("back", PLAIN), ("back", b"")) == [*ASKED, *REPLIED]


def test_one_who_hung_up_before_the_answer_is_owed_none():
    assert said(("forward", QUESTION), ("forward", b""), ("back", b"")) == ASKED


def test_a_request_that_is_cut_short_asked_nothing():
    assert said(("forward", QUESTION[:-1]), ("forward", b""), ("back", b"")) == []


@pytest.mark.parametrize(("encoding", "pack"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_compressed_answer_is_read(encoding, pack):
    body = pack(PLAIN.partition(b"\r\n\r\n")[2])
    assert (
        said(("forward", QUESTION), ("back", answer(body, headers=f"Content-Encoding: {encoding}\r\n")))[2:] == REPLIED
    )


@pytest.mark.parametrize(
    ("encoding", "body", "says"),
    [
        ("br", b"\x8b\x00", "it is compressed (br); have it sent plain, or as gzip"),
        ("gzip", b"plain", "it is no gzip: "),
        ("gzip", gzip.compress(b"{}", mtime=0)[:-4], "its gzip is cut short"),
        ("gzip", gzip.compress(bytes(MAX_BODY_BYTES + 1), mtime=0), f"it unfolds to more than {MAX_BODY_BYTES} bytes"),
    ],
)
def test_an_answer_whose_compression_is_not_read_failed(encoding, body, says):
    compressed = answer(body, headers=f"Content-Encoding: {encoding}\r\n")
    ((_, kind, why),) = said(("forward", QUESTION), ("back", compressed))[2:]
    assert (kind, why[: len(says) + 60].partition("cannot be read: ")[2][: len(says)]) == ("failed", says)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "it is TLS; give the service's plain address"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "it is HTTP/2"),
        (b"\x00\x00\x00\x03151", "illegal request line"),
        (b"hello there\r\n\r\n", "illegal request line"),
        (b"POST / HTTP/1.1\r\n\r\n", "Missing mandatory Host"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "bad Content-Length"),
        (b"POST / HTTP/1.1\r\n" + b"x" * 70_000, "Receive buffer too long"),
        (101 * b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "more than 100 requests wait for an answer"),
    ],
)
def test_what_is_no_http_is_garbled_once_and_says_why(data, says):
    ((direction, kind, why),) = said(("forward", data), ("forward", QUESTION), ("back", PLAIN), ("back", b""))
    assert (direction, kind) == ("forward", "garbled")
    assert why.startswith(f"this is no HTTP/1.1: {says}")


def test_an_answer_that_is_no_http_is_garbled():
    assert [kind for _, kind, _ in said(("forward", QUESTION), ("back", b"\x15\x03\x01\x00\x02"))[2:]] == ["garbled"]


def test_an_answer_that_nobody_asked_for_is_ignored():
    late = answer(b"", status="408 Request Timeout")
    assert said(("forward", QUESTION), ("back", PLAIN + late), ("back", b"")) == [*ASKED, *REPLIED]


def test_after_an_upgrade_there_is_no_exchange():
    asks = b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
    switches = b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n\x81\x05hello"
    assert said(("forward", asks), ("back", switches), ("forward", b"\x81\x85"), ("back", b"")) == []


def test_what_a_header_claims_is_not_allocated():
    asks = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {10**15}\r\n\r\n{{".encode()
    claims = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffff\r\n{"
    tracemalloc.start()
    assert said(("forward", asks), ("back", claims)) == []
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("stream", [False, True])
def test_no_more_is_held_than_a_limit(stream):
    head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {10**15}\r\n\r\n".encode()
    kind = "text/event-stream" if stream else "application/json"
    begun = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n\r\ndata: ".encode()
    conversation = CHAT.open()
    conversation.feed("forward", QUESTION if stream else head)
    passed = conversation.feed("back", begun)
    direction = "back" if stream else "forward"
    tracemalloc.start()
    for _ in range(MAX_BODY_BYTES // 65_536 + 100):
        passed += conversation.feed(direction, bytes(65_536))
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [p.kind for p in passed] == ["failed"]
    assert str(MAX_BODY_BYTES) in passed[0].payload.decode()
    assert peak < 5 * MAX_BODY_BYTES
    assert held < 1_000_000


LONG = [
    ("forward", request("/health", method="HEAD")),
    ("back", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"),
    ("forward", QUESTION),
    ("back", b"HTTP/1.1 100 Continue\r\n\r\n" + b"".join(STREAMED)),
    ("forward", ask(user("Caf\u00e9 \U0001f600")) + QUESTION),
    ("back", answer(gzip.compress(PLAIN.partition(b"\r\n\r\n")[2], mtime=0), headers="Content-Encoding: gzip\r\n")),
    ("back", answer(b"busy", "text/plain", "429 Too Many")),
    ("forward", QUESTION),
    ("back", b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + event("d\u00e9j\u00e0")),
    ("back", b""),
]


def test_how_it_is_cut_into_reads_makes_no_difference():
    passed = fed(CHAT, LONG)
    assert [p.kind for p in passed].count("end") == 7
    assert fed(CHAT, bytewise(LONG)) == passed


@settings(deadline=None)
@given(data=st.data())
def test_nothing_makes_it_raise_and_no_cutting_makes_a_difference(data):
    steps = data.draw(spoiled(LONG))
    assert joined(fed(CHAT, data.draw(cut(steps)))) == joined(fed(CHAT, steps))


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["forward", "back"]), st.binary(max_size=80)), max_size=8))
def test_noise_is_garbled_at_most_once(steps):
    assert [p.kind for p in fed(CHAT, steps)] in ([], ["garbled"])
