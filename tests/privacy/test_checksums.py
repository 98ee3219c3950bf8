"""Check digits against published examples, and against every other last sign."""

import pytest

from millwright.privacy import checksums

# Examples that standards, issuers and encyclopedias print.
VECTORS = [
    (checksums.is_resident_id, "11010519491231002X"),
    (checksums.is_social_credit_code, "91350100M000100Y43"),
    (checksums.is_luhn, "4111111111111111"),
    (checksums.is_luhn, "378282246310005"),
    (checksums.is_luhn, "79927398713"),
    (checksums.is_iban, "GB82WEST12345698765432"),
    (checksums.is_iban, "DE89370400440532013000"),
    (checksums.is_verhoeff, "2363"),
    (checksums.is_nhs_number, "9434765919"),
    (checksums.is_spanish_id, "12345678Z"),
    (checksums.is_french_id, "255081416802538"),
    (checksums.is_brazilian_id, "52998224725"),
    (checksums.is_italian_code, "RSSMRA85T10A562S"),
]


@pytest.mark.parametrize(("check", "code"), VECTORS)
def test_published_examples_pass_and_no_other_last_sign_does(check, code):
    assert check(code)
    signs = "0123456789" + ("X" if code.endswith("X") else "")
    signs = (
        "0123456789" if code[-1].isdigit() else signs if code.endswith("X") else "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    )
    assert [sign for sign in signs if check(code[:-1] + sign)] == [code[-1]]


@pytest.mark.parametrize(
    ("code", "wrong"),
    [
        ("990105194912310026", "no province"),
        ("110105194913310025", "month 13"),
        ("110105194902300028", "30 February"),
        ("110105179912310023", "born 1799"),
        ("1101051949123100", "16 signs"),
    ],
)
def test_a_resident_id_needs_a_province_and_a_day_besides_its_check_digit(code, wrong):
    fitting = [code[:-1] + sign for sign in "0123456789X"]
    assert not any(checksums.is_resident_id(candidate) for candidate in fitting), wrong


def test_a_resident_id_of_15_digits_needs_a_province_and_a_day():
    assert checksums.is_resident_id("110105491231002")
    assert not checksums.is_resident_id("110105491331002")


def test_a_digit_repeated_is_no_card():
    assert not checksums.is_luhn("0" * 16)


def test_plain_reads_digits_of_any_script():
    assert checksums.plain("１２-٣ ab") == "123AB"
