"""What a call has still to say: confirmed, cancelled, drained."""

import numpy as np

from voiceloop_services.kokoro.calls import CallQueue, Mark
from voiceloop_services.kokoro.sound import Chunk


def chunk(letter):
    return Chunk(np.array([ord(letter)], dtype=np.float32), last=False)


def make(clause, *chunks):
    """Speak a clause: its chunks are the letters of its text, as numbers."""
    clause.chunks.extend(chunk(letter) for letter in chunks or clause.text)
    clause.done = True


def speak_all(queue):
    while clause := queue.next_unspoken():
        make(clause)


def leave(queue):
    """What may leave now: letters and marks."""
    left = []
    while queue.ready():
        item = queue.pop()
        left.append(item.kind if isinstance(item, Mark) else chr(int(item.samples[0])))
    return left


def test_unconfirmed_clause_is_held():
    queue = CallQueue(control=True)
    queue.say("a")
    speak_all(queue)
    assert leave(queue) == []


def test_end_confirms_what_came_before():
    queue = CallQueue(control=True)
    queue.say("a")
    queue.mark("end")
    queue.say("b")
    speak_all(queue)
    assert leave(queue) == ["a", "end"]


def test_clauses_leave_in_order_as_they_are_spoken():
    queue = CallQueue(control=True)
    queue.say("a")
    queue.say("b")
    queue.mark("end")
    make(queue.next_unspoken())
    assert leave(queue) == ["a"]
    speak_all(queue)
    assert leave(queue) == ["b", "end"]


def test_without_control_nothing_is_held():
    queue = CallQueue(control=False)
    queue.say("a")
    speak_all(queue)
    assert leave(queue) == ["a"]


def test_bye_confirms():
    queue = CallQueue(control=True)
    queue.say("a")
    queue.mark("bye")
    assert queue.has_bye()
    speak_all(queue)
    assert leave(queue) == ["a", "bye"]


def test_cancel_drops_since_the_last_end_only():
    queue = CallQueue(control=True)
    queue.say("a")
    queue.mark("end")
    queue.say("b")
    queue.say("c")
    assert queue.cancel() == 2
    speak_all(queue)
    assert leave(queue) == ["a", "end"]


def test_cancel_reaches_what_is_being_spoken():
    queue = CallQueue(control=True)
    queue.say("a")
    in_work = queue.next_unspoken()
    queue.cancel()
    make(in_work)
    queue.mark("end")
    assert in_work.dropped
    assert leave(queue) == ["end"]


def test_lost_neighbour_drops_only_what_nobody_can_confirm():
    held, free = CallQueue(control=True), CallQueue(control=False)
    for queue in (held, free):
        queue.say("a")
    assert (held.drop_unconfirmed(), free.drop_unconfirmed()) == (1, 0)


def test_dropping_the_confirmed_keeps_the_rest():
    queue = CallQueue(control=True)
    queue.say("a")
    queue.mark("end")
    queue.say("b")
    assert queue.drop_confirmed() == 1
    queue.mark("end")
    speak_all(queue)
    assert leave(queue) == ["b", "end"]


def test_clear_drops_everything():
    queue = CallQueue(control=True)
    queue.say("a")
    queue.mark("bye")
    assert queue.clear() == 1
    assert not queue.has_bye()
    assert not queue.ready()


def test_a_chunk_leaves_while_its_clause_is_still_being_spoken():
    queue = CallQueue(control=True)
    queue.say("ab")
    queue.mark("end")
    clause = queue.next_unspoken()
    clause.chunks.append(chunk("a"))
    assert leave(queue) == ["a"]
    assert queue.next_unspoken() is clause
    make(clause, "b")
    assert leave(queue) == ["b", "end"]


def test_a_clause_without_sound_holds_nothing_up():
    queue = CallQueue(control=True)
    queue.say("")
    queue.mark("end")
    speak_all(queue)
    assert leave(queue) == ["end"]


def test_only_the_first_clause_of_a_reply_opens_it():
    queue = CallQueue(control=True)
    opens = []

    def say():
        queue.say("a")
        clause = queue.next_unspoken()
        opens.append(clause.opens)
        make(clause)

    say()
    say()
    queue.mark("end")
    say()
    queue.cancel()
    say()
    leave(queue)
    assert opens == [True, False, True, True]


def test_no_more_is_spoken_while_five_minutes_of_audio_wait():
    queue = CallQueue(control=True)
    queue.say("long")
    queue.say("next")
    queue.mark("end")
    long = queue.next_unspoken()
    minute = Chunk(np.zeros(60 * 24_000, np.float32), last=False)
    long.chunks.extend([minute] * 5)
    assert queue.next_unspoken() is long
    long.chunks.append(minute)
    assert queue.next_unspoken() is None
    queue.pop()
    assert queue.next_unspoken() is long
