"""What a call has still to say: confirmed, cancelled, drained."""

import numpy as np

from voiceloop_services.kokoro.calls import CallQueue, Clause

AUDIO = np.zeros(1, dtype=np.float32)


def speak_all(queue):
    while clause := queue.next_unspoken():
        clause.audio = AUDIO


def leave(queue):
    """What may leave now: texts and marks."""
    left = []
    while queue.ready():
        item = queue.pop()
        left.append(item.text if isinstance(item, Clause) else item.kind)
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
    queue.next_unspoken().audio = AUDIO
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
    in_work.audio = AUDIO
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
