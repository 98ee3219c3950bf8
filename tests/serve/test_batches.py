"""Which inputs run together."""

import threading
from dataclasses import dataclass

import pytest

from millwright.serve.batches import Batch, BatchQueue, like_length


@dataclass(eq=False)
class One:
    text: str
    body: object = "a body"
    streams: int = 9


def test_the_batch_is_what_is_nearest_in_length_to_the_first():
    assert like_length([10, 50, 11, 9, 100], most=3) == [3, 0, 2]


def test_the_first_is_always_there_however_odd_its_length():
    assert like_length([1000, 1, 2, 3], most=2) == [3, 0]
    assert like_length([1000, 1, 2, 3], most=1) == [0]


@pytest.mark.parametrize(("padded", "expected"), [(30, [0, 1, 2]), (29, [0, 1]), (5, [0])])
def test_a_batch_stays_below_its_padded_size_but_is_never_empty(padded, expected):
    assert like_length([10, 10, 10], most=9, padded=padded) == expected


def test_everything_goes_when_it_fits():
    assert sorted(like_length(list(range(20, 0, -1)), most=99)) == list(range(20))


def test_what_there_is_is_taken_without_waiting_for_more(monkeypatch):
    queue: BatchQueue[One] = BatchQueue(64)
    queue.put([One("card")])

    def refuse(_condition: threading.Condition, timeout: float | None = None) -> None:
        raise AssertionError(f"it waits for {timeout}")

    monkeypatch.setattr(threading.Condition, "wait", refuse)
    assert [item.text for item in queue.take().items] == ["card"]


def test_inputs_leave_in_batches_and_the_oldest_leaves_first():
    queue: BatchQueue[One] = BatchQueue(2)
    texts = ["aaaaaaaa", "b", "cc", "dddddddd"]
    queue.put([One(text) for text in texts])
    assert [sorted(item.text for item in queue.take().items) for _ in range(2)] == [
        ["aaaaaaaa", "dddddddd"],
        ["b", "cc"],
    ]


def test_a_batch_never_mixes_bodies():
    queue: BatchQueue[One] = BatchQueue(9)
    queue.put([One("1", "a"), One("2", "b"), One("3", "a")])
    assert [[item.text for item in queue.take().items] for _ in range(2)] == [["1", "3"], ["2"]]


def test_a_body_that_is_busy_lets_others_pass_until_it_is_released():
    queue: BatchQueue[One] = BatchQueue(1)
    queue.put([One("1", "a", 1), One("2", "a", 1), One("3", "b", 1)])
    first, second = queue.take(), queue.take()
    assert [batch.items[0].text for batch in (first, second)] == ["1", "3"]
    queue.release(first)
    queue.release(first)
    assert queue.take().items[0].text == "2"


def test_a_batch_is_given_back_with_the_next_take():
    queue: BatchQueue[One] = BatchQueue(1)
    queue.put([One("1", "a", 1), One("2", "a", 1)])
    assert queue.take(queue.take()).items[0].text == "2"


def test_nobody_is_woken_for_a_body_that_is_busy(monkeypatch):
    queue: BatchQueue[One] = BatchQueue(1)
    queue.put([One("1", "a", 1)])
    queue.take()
    woken = []
    monkeypatch.setattr(queue._changed, "notify", lambda: woken.append(1))
    monkeypatch.setattr(queue, "_idle", 1)
    queue.put([One("2", "a", 1)])
    assert not woken
    queue.put([One("3", "b", 1)])
    assert woken


def test_nobody_takes_what_is_held_before_the_next_put():
    queue: BatchQueue[One] = BatchQueue(9)
    first, second, third = (One(text, "a", 2) for text in "123")
    queue.put([first])
    done, got = queue.take(), []
    queue.put([second])
    queue.hold(done)
    waiting = threading.Thread(target=lambda: got.append(queue.take(done)), daemon=True)
    waiting.start()
    while not queue._idle:
        pass
    assert not got
    queue.put([third])
    waiting.join(30)
    assert got[0].items == [second, third]


def test_a_whole_batch_is_not_held():
    queue: BatchQueue[One] = BatchQueue(2)
    two = [One("1", "a", 2), One("2", "a", 2)]
    queue.put(two)
    queue.hold(Batch("a", two))
    assert len(queue.take().items) == 2


def test_what_feeds_a_body_of_one_stream_is_not_held():
    queue: BatchQueue[One] = BatchQueue(9)
    queue.put([One("1", "a", 1)])
    queue.hold(Batch("a", [One("0", "a", 1)]))
    assert len(queue.take().items) == 1


def test_what_is_held_is_handed_out_once_the_queue_is_closed():
    queue: BatchQueue[One] = BatchQueue(9)
    kept = One("1", "a", 2)
    queue.put([kept])
    queue.hold(Batch("a", [kept]))
    queue.close()
    assert queue.take().items == [kept]


def test_who_waits_for_a_busy_body_leaves_once_the_queue_is_closed_and_emptied():
    queue: BatchQueue[One] = BatchQueue(1)
    queue.put([One("1", "a", 1), One("2", "a", 1)])
    first, got = queue.take(), []
    waiting = threading.Thread(target=lambda: got.append(queue.take()), daemon=True)
    waiting.start()
    while not queue._idle:
        pass
    queue.close()
    assert queue.take(queue.take(first)) is None
    waiting.join(30)
    assert got == [None]


def test_discarded_inputs_are_not_handed_out():
    queue: BatchQueue[One] = BatchQueue(9)
    gone, kept = One("gone"), One("kept")
    queue.put([gone, kept])
    queue.discard([gone])
    assert queue.take().items == [kept]


def test_a_closed_queue_is_emptied_and_then_says_so():
    queue: BatchQueue[One] = BatchQueue(9)
    queue.put([One("last")])
    queue.close()
    assert queue.take().items[0].text == "last"
    assert queue.take() is None
