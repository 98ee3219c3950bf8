"""Keys come one by one, also those that were typed before they were asked for, from a real terminal."""

import os
import pty
import sys

import pytest

from millwright.errors import BadInput
from millwright.surfaces import pressed
from millwright.surfaces.pressed import pressed_keys


@pytest.fixture
def typed(monkeypatch):
    """Types at the terminal that is stdin."""
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "r") as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        yield lambda text: os.write(ours, text.encode())
    os.close(ours)


def test_keys_that_were_typed_ahead_are_neither_lost_nor_one_key(typed):
    with pressed_keys() as key:
        typed("12")
        assert key() == "1"
        typed("q")  # while a row is stored, say
        assert [key(), key()] == ["2", "q"]


def test_an_arrow_is_one_key_and_so_is_a_letter_of_several_bytes(typed):
    with pressed_keys() as key:
        typed("é")
        assert key() == "é"
        typed("\x1b[A1\x1bOPé\x1b[15~")
        assert [key() for _ in range(5)] == ["\x1b[A", "1", "\x1bOP", "é", "\x1b[15~"]


def test_the_terminal_is_afterwards_as_it_was(typed):
    import termios

    before = termios.tcgetattr(sys.stdin.fileno())
    with pressed_keys():
        assert not termios.tcgetattr(sys.stdin.fileno())[3] & (termios.ICANON | termios.ECHO)
    assert termios.tcgetattr(sys.stdin.fileno()) == before


def test_without_a_terminal_it_says_how_else_to_label(monkeypatch, tmp_path):
    monkeypatch.setattr(pressed, "DEVICE", str(tmp_path / "no terminal"))
    (tmp_path / "empty").touch()
    with (tmp_path / "empty").open() as nothing:
        monkeypatch.setattr(sys, "stdin", nothing)
        with pytest.raises(BadInput, match="no terminal .*`millwright review next`"), pressed_keys() as key:
            key()
