"""Curves as TensorBoard reads them, written so that a full disk is an error and not a wait for ever."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from millwright.errors import CannotStore
from millwright.train.events import Events
from tests.conftest import full_disk


def points(folder, name) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in EventAccumulator(str(folder)).Reload().Scalars(name)]


def test_tensorboard_reads_every_point(tmp_path):
    with Events(tmp_path / "run") as events:
        for step in range(1, 101):
            events.add_scalar("train/loss", 1 / step, step)
            events.add_scalar("validation/accuracy", step / 100, step)
    assert points(tmp_path / "run", "train/loss") == [(n, pytest.approx(1 / n)) for n in range(1, 101)]
    assert points(tmp_path / "run", "validation/accuracy")[-1] == (100, 1.0)


def test_a_run_that_goes_on_adds_to_its_curves(tmp_path):
    for part in (0, 1):  # within one second, too
        with Events(tmp_path) as events:
            for step in range(5 * part, 5 * part + 5):
                events.add_scalar("train/loss", step, step)
    # Files of one second are read in any order; what counts is that neither replaced the other.
    assert sorted(step for step, _ in points(tmp_path, "train/loss")) == list(range(10))


def test_what_was_flushed_can_be_read_while_the_run_goes_on(tmp_path):
    with Events(tmp_path) as events:
        events.add_scalar("train/loss", 0.5, 1)
        events.flush()
        assert points(tmp_path, "train/loss") == [(1, 0.5)]


def test_points_have_the_hour_at_which_they_were_made(tmp_path):
    with Events(tmp_path) as events:
        events.add_scalar("train/loss", 0.5, 1)
    (event,) = EventAccumulator(str(tmp_path)).Reload().Scalars("train/loss")
    assert abs(event.wall_time - next(tmp_path.iterdir()).stat().st_mtime) < 60


def test_an_error_in_the_run_is_not_hidden_and_the_points_before_it_are_kept(tmp_path):
    def run() -> None:
        with Events(tmp_path) as events:
            events.add_scalar("train/loss", 0.5, 1)
            raise ZeroDivisionError

    pytest.raises(ZeroDivisionError, run)
    assert points(tmp_path, "train/loss") == [(1, 0.5)]


@pytest.mark.parametrize("most_bytes", [0, 10, 20_000])
def test_a_full_disk_is_told_however_many_points_there_are(tmp_path, most_bytes):
    def run() -> None:
        with Events(tmp_path / "run") as events:
            for step in range(5_000):
                events.add_scalar("train/loss", 0.5, step)

    with full_disk(most_bytes), pytest.raises(CannotStore, match=r"cannot write .*run: .*free space"):
        run()


def test_a_full_disk_is_told_at_the_next_flush(tmp_path):
    with pytest.raises(CannotStore), Events(tmp_path) as events:  # noqa: PT012, the end tells it once more
        events.add_scalar("train/loss", 0.5, 1)
        with full_disk(0), pytest.raises(CannotStore, match="free space"):
            events.flush()
        with full_disk(0):
            events.flush()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "runs").write_text("in the way")
    with pytest.raises(CannotStore, match=r"cannot write .*runs/top"):
        Events(tmp_path / "runs" / "top")
