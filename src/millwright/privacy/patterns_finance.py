"""Cards, accounts, IBANs, and codes of companies."""

import re

from millwright.privacy.checksums import is_iban, is_luhn, is_social_credit_code
from millwright.privacy.patterns import CERTAIN, CONTEXT, STRONG, Pattern, number, words

_ACCOUNT_WORDS = words(
    r"accounts?|acct|a/c|acc(?= no)|cards?|iban|sort code|routing|swift|customer (?:number|id|no)|"
    r"member(?:ship)? (?:number|id|no)|policy (?:number|no)|reference|client (?:number|id|no)|user id|qq",
    "账号|帐号|账户|帐户|卡号|户号|客户号|会员号|保单号|订单号|微信号|银行卡|尾号|QQ",
)
_CARD_WORDS = words(
    r"cards?|cc|visa|mastercard|amex|maestro|debit|credit|number is", "卡号|银行卡|信用卡|储蓄卡|借记卡"
)
_SIGN = "[0-9A-HJ-NPQRTUWXYa-hj-npqrtuwxy]"
_CODE = rf"(?<![0-9A-Za-z_])[1-9ANYany][1-59]\d{{6}}{_SIGN}{{10}}(?![0-9A-Za-z_])"


def _is_card(digits: str) -> bool:
    return digits[0] != "0" and is_luhn(digits)


PATTERNS = (
    # Letters may touch a number (Chinese characters always do), digits may not.
    Pattern(
        "CREDIT_CARD",
        re.compile(
            r"(?<![\d+])(?<!\d[ \-.])\d{4}(?:([ \-])\d{4}(?:\1\d{4}){2}(?:\1\d{1,3})?|\d{9,15})(?!\d)"
            r"(?![\-.]\d)"
        ),
        CERTAIN,
        "digits",
        _is_card,
    ),
    Pattern(
        "CREDIT_CARD",
        re.compile(r"(?<![\d+])(?<!\d[ \-.])3\d{3}[ \-]\d{6}[ \-]\d{4,5}(?!\d)(?![\-.]\d)"),
        CERTAIN,
        "digits",
        _is_card,
    ),
    Pattern(
        "CREDIT_CARD",
        re.compile(r"(?<![\d+])(?<!\d[ \-.])\d{12}(?!\d)(?![\-.]\d)"),
        STRONG,
        "digits",
        _is_card,
        _CARD_WORDS,
    ),
    Pattern(
        "IBAN_CODE",
        re.compile(
            r"(?<![0-9A-Za-z])[A-Za-z]{2}\d{2}(?:[ \-]?[0-9A-Za-z]{4}){2,7}"
            r"(?:[ \-]?[0-9A-Za-z]{1,3})?(?![0-9A-Za-z])"
        ),
        CERTAIN,
        "digits",
        is_iban,
    ),
    Pattern("CN_SOCIAL_CREDIT_CODE", re.compile(_CODE), CERTAIN, "digits", is_social_credit_code),
    Pattern(
        "ACCOUNT_NUMBER",
        re.compile(
            r"(?<![\dA-Za-z_+$€£¥])(?<!\d[.,\-])\d{4}(?:[ \-]?\d{4}){2,3}(?:[ \-]?\d{1,3})?(?![\dA-Za-z_])"
            r"(?![.,\-]\d)"
        ),
        CONTEXT,
        "digits",
        None,
        _ACCOUNT_WORDS,
    ),
    Pattern(
        "ACCOUNT_NUMBER",
        re.compile(number(r"\d{2}-\d{2}-\d{2} ?\d{8}|[A-Z]{0,3}\d{5,18}")),
        CONTEXT - 0.02,
        "digits",
        None,
        _ACCOUNT_WORDS,
    ),
)
