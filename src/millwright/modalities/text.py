"""Text as an input: what is repaired on the way in, and when two texts count as the same."""

import re
import unicodedata

_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff\ufffe\uffff]")
_NOT_WORD = re.compile(r"[\W_]+")
TOKEN_CHARACTERS = 24
TOKEN_SIGNS = "a-z"
# What `privacy/` puts in place of a value that it can put back; Rust's regular expressions read it too.
TOKEN = rf"<([A-Z_]{{1,40}}):[{TOKEN_SIGNS}]{{{TOKEN_CHARACTERS}}}>"
_TOKEN = re.compile(TOKEN)


def clean(text: str) -> str:
    """Text in NFC without control characters and outer white space; line breaks stay, as \\n."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return unicodedata.normalize("NFC", _CONTROL.sub("", text)).strip()


def bare(text: str) -> str:
    """A text with reversible tokens as plain placeholders: what models read, and what texts are compared by.

    A token is random and tells of nobody, so neither a feature nor a split may depend on it.
    """
    return _TOKEN.sub(r"<\1>", text) if "<" in text else text


def is_broken(text: str) -> bool:
    """True where decoding failed: the text holds U+FFFD, or a surrogate without its partner."""
    return "\ufffd" in text or any("\ud800" <= character <= "\udfff" for character in text)


def is_unicode(text: str) -> bool:
    """False where a text holds half a surrogate pair, as bytes of no encoding become on a command line."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def canonical(text: str) -> str:
    """What is left when case, punctuation and spacing don't count: equal means exact duplicate.

    A text of symbols alone stays itself, so that ":)" and ":(" differ. Tokens count as `bare` writes them.
    """
    text = bare(text)
    folded = _NOT_WORD.sub(" ", unicodedata.normalize("NFKC", text).casefold()).strip()
    return folded or text.strip()


def is_number(text: str) -> bool:
    """True for a text that is one number: "12", "-3.5e7", "1,200"."""
    try:
        float(text.replace(",", ""))
    except ValueError:
        return False
    return True
