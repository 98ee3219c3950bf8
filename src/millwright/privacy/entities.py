"""Kinds of personal data, with what is done to each by default, and places in a text that hold one."""

from dataclasses import dataclass
from types import MappingProxyType

from millwright.settings import Policy


@dataclass(frozen=True)
class Span:
    """Characters `start` to `end` (exclusive) of a text; `score` in (0, 1] says how certain the kind is."""

    start: int
    end: int
    entity: str
    score: float

    def overlaps(self, other: "Span") -> bool:
        """True where the two share a character."""
        return self.start < other.end and other.start < self.end


@dataclass(frozen=True)
class Entity:
    """One kind of personal data; `policy` is the default."""

    meaning: str
    policy: Policy = "mask"


# Names are those of Presidio wherever it has one. What says little of one person alone is kept by default.
ENTITIES = MappingProxyType(
    {
        "PERSON": Entity("names of people"),
        "ADDRESS": Entity("street addresses, English and Chinese"),
        "POSTCODE": Entity("postcodes beside a word that says so, or inside an address"),
        "EMAIL_ADDRESS": Entity("e-mail addresses"),
        "PHONE_NUMBER": Entity("telephone numbers, international and Chinese"),
        "URL": Entity("web addresses"),
        "IP_ADDRESS": Entity("IPv4 and IPv6 addresses"),
        "IBAN_CODE": Entity("IBAN: length of its country, remainder 1 by 97"),
        "CREDIT_CARD": Entity("payment cards of 12 to 19 digits: Luhn"),
        "ACCOUNT_NUMBER": Entity("numbers beside a word such as account, card, order of a customer"),
        "US_SSN": Entity("US social security numbers"),
        "NATIONAL_ID": Entity("national numbers of India, Spain, the UK, Italy, France, Brazil"),
        "CN_RESIDENT_ID": Entity("Chinese resident identity numbers: region, date and check digit"),
        "CN_SOCIAL_CREDIT_CODE": Entity("Chinese unified social credit codes: check digit by 31"),
        "PASSPORT": Entity("passport numbers"),
        "DRIVER_LICENSE": Entity("driving licence numbers beside a word that says so"),
        "LICENSE_PLATE": Entity("number plates: Chinese, others beside a word that says so"),
        "DATE_OF_BIRTH": Entity("dates beside a word such as born, 出生"),
        "SECRET": Entity("passwords, keys and tokens"),
        "ORGANIZATION": Entity("names of companies and institutions", "keep"),
        "LOCATION": Entity("countries, regions, towns", "keep"),
        "NATIONALITY": Entity("nationalities, peoples, religions", "keep"),
        "DATE": Entity("other dates", "keep"),
        "AGE": Entity("ages of people", "keep"),
        "TITLE": Entity("forms of address: Mr., Dr.", "keep"),
    }
)
NAMED = frozenset({"PERSON", "ORGANIZATION", "LOCATION", "ADDRESS", "POSTCODE"})  # what the tagger finds
MODELLED = frozenset({"PERSON", "ORGANIZATION", "LOCATION"})  # what a model finds that `privacy.names` names
