"""Labelling functions from files: what they match, and what is refused."""

import pytest

from millwright.errors import BadInput, NotFound
from millwright.weak.functions import keyword_function, open_functions


@pytest.mark.parametrize(
    ("keyword", "text", "matches"),
    [
        ("lost", "I LOST it", True),
        ("lost", "the lostness", False),
        ("stol*", "it was stolen", True),
        ("*ward", "a reward", True),
        ("gone missing", "it has gone\n missing!", True),
        ("c++", "I write c++.", True),
        ("退款", "我要退款吗", True),
        ("age", "a page", False),
    ],
)
def test_a_keyword_stands_as_a_word_of_its_own(keyword, text, matches):
    assert keyword_function("f", "yes", [keyword])(text) == ("yes" if matches else None)


def test_unless_keeps_a_function_silent():
    function = keyword_function("f", "yes", ["pin"], ["block*"])
    assert function("my pin") == "yes"
    assert function("my pin is blocked") is None


def test_opens_toml_csv_and_python_by_name(tmp_path):
    (tmp_path / "a.toml").write_text('[lost]\nlabel = " card "\nkeywords = ["lost"]\n')
    (tmp_path / "b.csv").write_text("keyword,label\npin,pin\nblocked,pin\n")
    (tmp_path / "c.py").write_text(
        "from os.path import join\ndef asks(text):\n    return _at(text, 'transfer')\n"
        "def _at(text, label):\n    return label if '?' in text else None\n"
    )
    found = open_functions([tmp_path / name for name in ("c.py", "b.csv", "a.toml")])
    assert [one.name for one in found] == ["asks", "lost", "pin"]
    assert [one("lost and blocked?") for one in found] == ["transfer", "card", "pin"]
    assert [one("nothing") for one in found] == [None] * 3


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.toml", "[x]\nlabel = 3\nkeywords = ['a']", "label must be a label, got 3"),
        ("a.toml", "[x]\nlabel = 'y'\nkeywords = ['*']", r"keywords must be a list of words, got \['\*'\]"),
        ("a.toml", "x = 1", "must be a table"),
        ("a.toml", "[x", "not valid TOML"),
        ("a.csv", "word,label\na,b\n", "columns keyword and label, got word, label"),
        ("a.csv", "keyword,label\n,b\n", "row 1 must have a keyword"),
        ("a.py", "def two(a, b): ...", "two must take one text"),
        ("a.py", "1/0", "cannot be run: ZeroDivisionError"),
        ("a.py", "_x = 1", "no labelling function"),
        ("a.txt", "lost", "got 'a.txt'"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_the_reason(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(BadInput, match=message):
        open_functions([tmp_path / name])


def test_a_missing_file_and_an_unknown_key_are_named(tmp_path):
    with pytest.raises(NotFound, match=r"none\.toml"):
        open_functions([tmp_path / "none.toml"])
    (tmp_path / "a.toml").write_text("[x]\nlabel = 'y'\nkeyword = ['a']")
    with pytest.raises(NotFound, match="Did you mean 'keywords'"):
        open_functions([tmp_path / "a.toml"])


def test_two_functions_of_one_name_are_refused(tmp_path):
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("def f(text):\n    return 'x'\n")
    with pytest.raises(BadInput, match="two labelling functions are named 'f'"):
        open_functions([tmp_path / "a.py", tmp_path / "b.py"])


def test_a_failing_function_is_named_with_its_line_and_never_with_the_text(tmp_path):
    (tmp_path / "a.py").write_text("def f(text):\n    raise KeyError(text)\ndef g(text):\n    return 3\n")
    failing, wrong = open_functions([tmp_path / "a.py"])
    with pytest.raises(BadInput, match="'f' raised KeyError at line 2") as error:
        failing("secret words")
    assert "secret" not in str(error.value)
    with pytest.raises(BadInput, match="'g' must return a label or None, got a int"):
        wrong("secret words")
