from contextlib import suppress

import polars as pl
import pytest

from millwright.data.spill import Spill, spilling
from millwright.errors import CannotStore


@pytest.fixture(params=[0, 10, 1_000_000])
def spill(tmp_path, request):
    """Spills that hold nothing, a little, and all of it in memory."""
    return Spill(tmp_path, request.param)


def test_a_stream_reads_back_what_was_appended_in_order(spill):
    for number in range(20):
        spill.append("a", b"%03d" % number)
        spill.append("b", b"x" * number)
    assert spill.read("a") == b"".join(b"%03d" % number for number in range(20))
    assert spill.read("a", 3, 9) == b"001002"
    assert (spill.size("a"), spill.size("b"), spill.size("none")) == (60, 190, 0)


def test_stretches_are_gathered_in_the_order_asked_for(spill):
    spill.append("a", b"hello ")
    spill.append("a", b"world")
    assert spill.gather("a", [6, 0, 4], [5, 2, 3]) == b"worldheo w"
    spill.append("a", b"!")
    assert spill.gather("a", [9], [3]) == b"ld!"


def test_what_was_taken_is_gone_and_may_begin_anew(spill):
    spill.append("a", b"one")
    assert spill.take("a") == b"one"
    assert (spill.take("a"), spill.names("a")) == (b"", [])
    spill.append("a", b"two")
    assert spill.take("a") == b"two"


def test_frames_come_back_as_one(spill):
    frame = pl.DataFrame({"n": [1, 2, 3], "s": ["a", None, "é"]})
    spill.append_frame("a", frame.head(2))
    spill.append_frame("a", frame.clear())
    spill.append_frame("a", frame.tail(1))
    assert spill.take_frame("a").equals(frame)
    assert spill.take_frame("a") is None


def test_names_are_those_with_the_beginning_sorted(spill):
    for name in ("b-2", "a-1", "b-1"):
        spill.append(name, b"x")
    assert spill.names("b-") == ["b-1", "b-2"]


def test_little_stays_in_memory_and_much_goes_to_files(tmp_path):
    spill = Spill(tmp_path, 10)
    spill.append("a", b"0123456789")
    assert list(tmp_path.iterdir()) == []
    spill.append("b", b"!")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"0123456789", "b": b"!"}


def test_the_folder_is_gone_at_the_end_whatever_happened(tmp_path):
    with suppress(ZeroDivisionError), spilling(tmp_path) as spill:
        (spill.folder / "more").write_text("x")
        raise ZeroDivisionError
    assert list((tmp_path / "spill").iterdir()) == []


def test_a_folder_that_cannot_be_made_cannot_store(tmp_path):
    (tmp_path / "spill").write_text("a file")
    with pytest.raises(CannotStore, match="spill"), spilling(tmp_path):
        pass
