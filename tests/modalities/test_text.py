import pytest

from millwright.modalities.text import canonical, clean, is_broken, is_number


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("  hello \n", "hello"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("nul\x00l and \x1b[1mbold\x7f", "null and [1mbold"),
        ("\ufefftext", "text"),
        ("e\u0301", "é"),
        ("tab\tstays", "tab\tstays"),
        ("\x00\x01 ", ""),
        ("👩‍👩‍👧 ok", "👩‍👩‍👧 ok"),
        ("مرحبا", "مرحبا"),
        ("汉字", "汉字"),
        ("", ""),
    ],
)
def test_clean(raw, cleaned):
    assert clean(raw) == cleaned


@pytest.mark.parametrize("raw", ["e\u0301\x00e", " \r\n x \r", "ﬁ ①", "\u0085a\u0085"])
def test_cleaning_twice_changes_nothing_more(raw):
    assert clean(clean(raw)) == clean(raw)


@pytest.mark.parametrize(
    ("text", "broken"), [("caf\ufffd", True), ("a\ud800", True), ("café 👍", False), ("", False)]
)
def test_is_broken(text, broken):
    assert is_broken(text) is broken


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Where is my CARD?", "where is my card"),
        ("my  card\n", "my card"),
        ("my-card", "my card"),
        ("my_card", "My Card!!"),
        ("STRASSE", "straße"),
        ("ｆｕｌｌ", "full"),
        ("ΣΊΣΥΦΟΣ", "σίσυφος"),
    ],
)
def test_case_punctuation_and_spacing_do_not_count(one, other):
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize(
    ("one", "other"), [(":)", ":("), ("card", "cards"), ("no", "not"), ("汉字", "汉"), ("1", "2")]
)
def test_what_means_another_thing_stays_apart(one, other):
    assert canonical(one) != canonical(other)


def test_a_text_of_symbols_keeps_itself():
    assert canonical(" ?! ") == "?!"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12", True),
        ("-3.5e7", True),
        ("1,200", True),
        (" 4 ", True),
        ("", False),
        ("4 cards", False),
        ("v1", False),
    ],
)
def test_is_number(text, number):
    assert is_number(text) is number
