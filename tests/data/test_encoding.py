import pytest

from millwright.data.encoding import decode, find_encoding, utf8_blocks

TEXT = "déjà vu – größer\nплохо? нет\r\n我的银行卡 😀\nplain\n\n" * 3
CHINESE = "我的银行卡在哪里？我两周前订的，还没有到。\n" * 20
MIXED = b"".join(["déjà\n".encode(), "größer – “so”\n".encode("cp1252"), b"plain\n"] * 5)


def in_blocks(content, size):
    return [content[start : start + size] for start in range(0, len(content), size)]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1_000])
@pytest.mark.parametrize(
    "content",
    [TEXT.encode(), TEXT.encode("utf-8-sig"), TEXT.encode("utf-16"), CHINESE.encode("gb18030"), MIXED],
    ids=["utf-8", "utf-8-sig", "utf-16", "gb18030", "mixed"],
)
def test_blocks_of_any_size_are_decoded_as_the_whole(content, size):
    blocks = in_blocks(content, size)
    encoding = find_encoding(lambda: blocks)
    assert (b"".join(utf8_blocks(blocks, encoding)).decode(), encoding.name) == decode(content)
    mixed = "déjà\ngrößer – “so”\nplain\n" * 5
    assert decode(content)[0] == (content.decode(encoding.codec) if encoding.codec else mixed)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_whether_there_is_a_line_feed_is_found(encoding, end):
    # Ċ and ਊ have the byte of a line feed in UTF-16.
    text = f"é{end}ê" + ("Ċਊ" if encoding == "utf-16" else "")
    found = find_encoding(lambda: in_blocks(text.encode(encoding), 2))
    assert found.has_line_feed == ("\n" in end)


def test_a_short_line_that_happens_to_be_utf_8_turns_no_chinese_file_into_western_text():
    assert "谢谢".encode("gb18030").decode("utf-8") != "谢谢"
    text = CHINESE + "谢谢\n"
    assert decode(text.encode("gb18030")) == (text, "gb18030")


@pytest.mark.parametrize(("ours", "foreign"), [(60, 40), (40, 60), (6, 4), (4, 6)])
def test_scandinavian_lines_of_two_encodings_are_both_read(ours, foreign):
    one, other = "Når kommer mitt kort på posten?\n", "Kortet är borta, hjälp!\n"
    content = one.encode() * ours + other.encode("cp1252") * foreign
    assert decode(content)[0] == one * ours + other * foreign


def test_western_lines_among_more_of_utf_8_are_read_as_such_whatever_they_resemble():
    content = "déjà vu, мир\n".encode() * 3 + "größer – “so”\n".encode("cp1252")
    assert decode(content)[0] == "déjà vu, мир\n" * 3 + "größer – “so”\n"
