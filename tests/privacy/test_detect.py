"""What is found where, English and Chinese, and what is not."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millwright.errors import NotFound
from millwright.privacy.candidates import plausible_kind
from millwright.privacy.checksums import is_luhn
from millwright.privacy.detect import detector, settle
from millwright.privacy.entities import ENTITIES, NAMED, Span
from millwright.settings import PrivacySection

PATTERNED = frozenset(ENTITIES) - NAMED
few = settings(max_examples=40, derandomize=True, deadline=None, database=None)


def found(text: str, *entities: str, names: bool = False) -> list[tuple[str, str]]:
    wanted = frozenset(entities) or frozenset(ENTITIES)
    return [(span.entity, text[span.start : span.end]) for span in detector(wanted, names=names).find(text)]


def luhn_number(length: int, start: str = "62") -> str:
    body = (start + "0123456789" * 2)[: length - 1]
    return next(body + digit for digit in string.digits if is_luhn(body + digit))


SAID = [
    ("EMAIL_ADDRESS", "write to {} please", "anna.o'neil+x@mail.example.co.uk"[7:]),
    ("EMAIL_ADDRESS", "我的邮箱是{}，谢谢", "zhang_san@example.com.cn"),
    ("EMAIL_ADDRESS", "({})", "a@b.io"),
    ("PHONE_NUMBER", "我的电话是{}，请回电", "13800138000"),
    ("PHONE_NUMBER", "call {} now", "+86 138 0013 8000"),
    ("PHONE_NUMBER", "座机{}", "010-62511234"),
    ("PHONE_NUMBER", "ring me at {} tonight", "+44 20 7946 0958"),
    ("PHONE_NUMBER", "my number is {}.", "(212) 555-0123"),
    ("PHONE_NUMBER", "tel: {}", "07700 900 982"),
    ("PHONE_NUMBER", "{}", "+1-202-555-0143"),
    ("URL", "see {}, it says so", "https://example.com/a?b=c#d"),
    ("URL", "see {}.", "www.example.org/path"),
    ("URL", "my site is {} ok", "shop.example.com"),
    ("IP_ADDRESS", "from {} again", "192.168.10.254"),
    ("IP_ADDRESS", "from {} again", "2001:db8:85a3::8a2e:370:7334"),
    ("IBAN_CODE", "pay to {} today", "GB82 WEST 1234 5698 7654 32"),
    ("IBAN_CODE", "pay to {} today", "de89370400440532013000"),
    ("CREDIT_CARD", "my card {} is lost", "4111 1111 1111 1111"),
    ("CREDIT_CARD", "my card {} is lost", "3782-822463-10005"),
    ("CREDIT_CARD", "卡号{}丢了", luhn_number(19)),
    ("CREDIT_CARD", "银行卡号：{}。", luhn_number(16)),
    ("ACCOUNT_NUMBER", "account number {} is blocked", "12345678"),
    ("ACCOUNT_NUMBER", "账号{}被冻结", "6001234567"),
    ("US_SSN", "SSN {} on file", "219-09-9999"),
    ("NATIONAL_ID", "DNI {} de Madrid", "12345678Z"),
    ("NATIONAL_ID", "codice fiscale {}", "RSSMRA85T10A562S"),
    ("CN_RESIDENT_ID", "身份证号{}是我的", "11010519491231002X"),
    ("CN_RESIDENT_ID", "ID {}", "11010519491231002x"),
    ("CN_SOCIAL_CREDIT_CODE", "信用代码{}", "91350100M000100Y43"),
    ("PASSPORT", "护照号码{}", "E12345678"),
    ("PASSPORT", "my passport is {}", "C03005988"),
    ("DRIVER_LICENSE", "driver's license number {}", "F162823540116"),
    ("LICENSE_PLATE", "车牌{}违章", "京A·12345"),
    ("LICENSE_PLATE", "my number plate {}", "AB12 CDE"),
    ("DATE_OF_BIRTH", "born on {} in Rome", "12 March 1984"),
    ("DATE_OF_BIRTH", "出生日期：{}", "1984年3月12日"),
    ("SECRET", "key {} leaked", "AKIA" + "IOSFODNN7EXAMPLE"),
    ("SECRET", "token {} leaked", "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl"),
    ("SECRET", "my password is {}, help", "hunter2!x"),
    ("SECRET", "密码是{}。", "Abc12345"),
    ("SECRET", "api_key={}", "9f8e7d6c5b4a39281706f5e4d3c2b1a0"),
    ("ADDRESS", "I live at {} now", "221B Baker Street"),
    ("ADDRESS", "send it to {} please", "1600 Pennsylvania Avenue, Apt. 4"),
    ("ADDRESS", "地址：{}，谢谢", "北京市朝阳区建国路88号"),
    ("ADDRESS", "我住在{}", "上海市浦东新区世纪大道100号3号楼502室"),
    ("POSTCODE", "zip code {}", "90210"),
    ("POSTCODE", "邮编{}", "100022"),
    ("AGE", "I am {} years old", "47"),
    ("AGE", "今年{}岁", "35"),
    ("NATIONALITY", "he is {} I think", "Norwegian"),
    ("TITLE", "{} Jones called", "Mrs."),
    ("DATE", "on {} we met", "2024-02-29"),
]


@pytest.mark.parametrize(("entity", "said", "value"), SAID)
def test_finds(entity, said, value):
    text = said.format(value)
    assert (entity, value) in found(text)


@pytest.mark.parametrize("entity", sorted(PATTERNED))
def test_every_entity_that_patterns_find_is_among_the_examples(entity):
    assert entity in {said[0] for said in SAID}


@pytest.mark.parametrize(
    "text",
    [
        "order 4111111111111112 arrived",  # fails Luhn's check
        "ratio 12345678901234567890123",
        "version 1.2.3 and 10.20.30",
        "1138001380001",  # a mobile inside a longer number
        "it costs 1,234,567.89 dollars",
        "11010519491231002",
        "110105194912310021",
        "call me at 25:61",
        "the std::vector and a::b",
        "page 12 of 300, chapter 4",
        "I paid $1200 for 3 items",
        "温度是36.5度，共1234567890123456789012件",
        "e.g. this, i.e. that",
        "999.1.1.1",
        "key takeaways from the meeting",
    ],
)
def test_finds_nothing_in(text):
    direct = {"DATE", "AGE", "NATIONALITY", "TITLE", "LOCATION", "ORGANIZATION"}
    assert found(text, *(set(ENTITIES) - direct)) == []


@pytest.mark.parametrize("length", [13, 15, 16, 18, 19])
@pytest.mark.parametrize("around", ["卡{}号", "是{}。", " {} ", "A{}B", "({})"])
def test_cards_are_found_whatever_letters_touch_them(length, around):
    number = luhn_number(length)
    assert found(around.format(number), "CREDIT_CARD") == [("CREDIT_CARD", number)]


@pytest.mark.parametrize("touching", ["{}8", "8{}", "{}.5", "3.{}"])
def test_no_number_is_found_inside_a_longer_one(touching):
    for number in ("13800138000", luhn_number(16), "219-09-9999"):
        assert found(touching.format(number), "PHONE_NUMBER", "CREDIT_CARD", "US_SSN", "CN_RESIDENT_ID") == []


def test_a_certain_kind_wins_over_a_likely_one():
    assert found("card 4111 1111 1111 1111") == [("CREDIT_CARD", "4111 1111 1111 1111")]


def test_a_secret_inside_an_address_of_the_web_leaves_the_address_whole():
    url = "https://example.com/?token=" + "AKIA" + "IOSFODNN7EXAMPLE" + "&x=1"
    assert found(url) == [("URL", url)]


def test_of_two_that_overlap_the_more_certain_stays_then_the_longer_then_the_earlier():
    text = "abcdefghij"
    assert settle(text, [Span(0, 5, "DATE", 0.5), Span(4, 6, "AGE", 0.6)]) == (Span(4, 6, "AGE", 0.6),)
    assert settle(text, [Span(0, 2, "DATE", 0.5), Span(1, 5, "AGE", 0.5)]) == (Span(1, 5, "AGE", 0.5),)
    assert settle(text, [Span(1, 3, "DATE", 0.5), Span(2, 4, "AGE", 0.5)]) == (Span(1, 3, "DATE", 0.5),)


SPANS = st.lists(
    st.builds(
        lambda start, length, score: Span(start, start + length, "DATE", score),
        st.integers(0, 12), st.integers(1, 8), st.sampled_from([0.5, 0.6, 0.9, 1.0]),
    ),
    max_size=8,
)  # fmt: skip


@few
@given(SPANS)
def test_settling_follows_the_rule_as_a_plain_reading_of_it_does(spans):
    def encloses(outer, inner):
        is_longer = outer.end - outer.start > inner.end - inner.start
        return is_longer and outer.start <= inner.start and inner.end <= outer.end

    free = [one for one in spans if not any(o.score >= 0.9 and encloses(o, one) for o in spans)]
    kept = []
    for one in sorted(free, key=lambda one: (-one.score, one.start - one.end, one.start)):
        if not any(one.overlaps(other) for other in kept):
            kept.append(one)
    assert settle("x" * 20, spans) == tuple(sorted(kept, key=lambda one: one.start))


def test_what_stands_in_a_placeholder_is_left_alone():
    assert found("<EMAIL_ADDRESS> and <PERSON:0123456789abcdef>", names=True) == []


@pytest.mark.parametrize(
    "text",
    [
        "Collected on the 1st and again on the 3rd (£164 each)",
        "a cottage, price £285,000, with 40,000 deposit",
        "A zip for 47p, overdrawn by 40p at 11.20 am",
        "it doesnt have my name on page 2",
        "Please call me back.\n\nFaithfully",
    ],
)
def test_amounts_days_and_the_ends_of_letters_are_no_addresses_or_names(text):
    spans = detector(frozenset({"ADDRESS", "PERSON"})).find(text)
    assert [text[span.start : span.end] for span in spans] == []


@pytest.mark.parametrize(
    ("marked", "entity", "kind"),
    [
        ("9 Rookery Nook", "ADDRESS", "ADDRESS"),
        ("gorse hill", "ADDRESS", "ADDRESS"),
        ("its way", "ADDRESS", None),
        ("Vaasa 65100", "ADDRESS", "ADDRESS"),
        ("7412 SL", "ADDRESS", "ADDRESS"),
        ("Order 44715", "ADDRESS", None),
        ("\n\nVIMMERBY\nSweden", "ADDRESS", "LOCATION"),
        ("18 kastanienweg 4", "ADDRESS", "ADDRESS"),
        ("12 to 14 days", "ADDRESS", None),
        ("6th, £31.18", "ADDRESS", None),
        ("Beatrix Honeywell", "ADDRESS", "PERSON"),
        ("建国路88号", "ADDRESS", "ADDRESS"),
        ("Grazie", "PERSON", None),
        ("yesterday", "PERSON", None),
        ("Bank of Ruritania", "ORGANIZATION", "ORGANIZATION"),
    ],
)
def test_what_the_tagger_marked_is_looked_at_again(marked, entity, kind):
    assert plausible_kind(marked, entity) == kind


@pytest.mark.parametrize("before", ["𝒳𝒴 ", "e\u0301\u0301 ", "a\r\nb\r\n", "👩‍👩‍👧 ", "漢字", "\u200f"])
def test_offsets_count_characters_whatever_stands_before(before):
    (span,) = detector(frozenset({"EMAIL_ADDRESS"})).find(f"{before} ann@example.com")
    assert f"{before} ann@example.com"[span.start : span.end] == "ann@example.com"


def test_names_the_entity_that_is_not_known():
    with pytest.raises(NotFound, match="no entity named 'EMAIL'"):
        detector(frozenset({"EMAIL"}))


def test_the_settings_know_every_entity_and_no_other():
    annotation = PrivacySection.model_fields["policies"].annotation
    assert set(annotation.__args__[0].__args__) == set(ENTITIES)


FRAGMENTS = st.sampled_from(
    [
        *(said.format(value) for _, said, value in SAID),
        *(
            "<PERSON>",
            "𝒳",
            "e\u0301",
            "\r\n",
            "王小明",
            "John Smith",
            "138",
            "0013 8000",
            "@",
            "://",
            "-",
            ".",
            " ",
        ),
    ]
)
TEXTS = st.lists(st.one_of(FRAGMENTS, st.text(max_size=6)), max_size=6).map("".join)


@few
@given(TEXTS)
def test_spans_are_in_order_inside_the_text_and_never_overlap(text):
    end = 0
    for span in detector().find(text):
        assert end <= span.start < span.end <= len(text)
        end = span.end


@few
@given(st.lists(TEXTS, max_size=5))
def test_a_text_is_read_alike_alone_and_among_others(texts):
    assert detector().find_all(texts) == [detector().find(text) for text in texts]


@pytest.mark.parametrize(
    "fragment", ["市", "北京市", "1号", "1 ", "Apt 1 ", "a.", "Ab ", "12 Main Street ", "a@b.io "]
)
def test_a_text_twice_as_long_takes_no_more_steps_for_what_repeats(fragment):
    """An expression that tries every way to cut a text would not end within the time of a test run."""
    finder = detector(frozenset(ENTITIES), names=False)
    once, twice = (len(finder.find((fragment * 4_000)[:length])) for length in (6_000, 12_000))
    assert once <= twice <= 2 * once + 2
