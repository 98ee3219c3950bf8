"""Labelling functions: each looks at a text and gives a label or says nothing.

They are opened by path: keywords in a TOML or CSV file, or the functions of a Python file, which is run.
Nothing here knows what a function is worth; report.py does.
"""

import importlib.util
import inspect
import re
import tomllib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from os.path import isfile
from pathlib import Path
from types import ModuleType
from typing import Any

from millwright.data.load import read_table
from millwright.data.table import ROW
from millwright.errors import BadInput, NotFound, one_of
from millwright.modalities.text import clean

ENDINGS = (".toml", ".csv", ".py")
KEYS = ("label", "keywords", "unless")


@dataclass(frozen=True)
class LabellingFunction:
    """A name, and what gives a text a label or None."""

    name: str
    call: Callable[[str], object]

    def __call__(self, text: str) -> str | None:
        """The label of a text, None where the function says nothing.

        Args:
            text: as a model would see it: cleaned and masked.

        Returns:
            A label with spaces at its ends removed.

        Raises:
            BadInput: the function failed, or returned neither a string nor None.
        """
        try:
            said = self.call(text)
        except Exception as error:  # it is the user's code: any of it may be wrong
            line = error.__traceback__.tb_next if error.__traceback__ else None
            where = f" at line {line.tb_lineno}" if line else ""
            raise BadInput(  # without the error's own words: they may hold the text
                f"labelling function {self.name!r} raised {type(error).__name__}{where}; mend it, or let it "
                "return None"
            ) from error
        if said is None:
            return None
        if not isinstance(said, str) or not clean(said):
            raise BadInput(
                f"labelling function {self.name!r} must return a label or None, got a {type(said).__name__} "
                "or a blank; mend it"
            )
        return clean(said)


def open_functions(paths: Sequence[Path]) -> list[LabellingFunction]:
    """Open the labelling functions of files; a Python file is run.

    Args:
        paths: .toml or .csv files with keywords, .py files with functions.

    Returns:
        Functions by name.

    Raises:
        NotFound: there is no such file.
        BadInput: a file cannot be used, has no function, or two functions have one name.
    """
    found: dict[str, LabellingFunction] = {}
    for path in paths:
        if not isfile(path):  # unlike Path.is_file, it bears a name that is too long
            raise NotFound(f"no file {path}; check the path")
        if path.suffix.lower() not in ENDINGS:
            raise BadInput(
                f"labelling functions stand in {', '.join(ENDINGS)} files, got {path.name!r}; rename it"
            )
        made = list(OPENERS[path.suffix.lower()](path))
        if not made:
            raise BadInput(f"{path} has no labelling function; write at least one")
        for function in made:
            if function.name in found:
                raise BadInput(f"two labelling functions are named {function.name!r}; rename one")
            found[function.name] = function
    return [found[name] for name in sorted(found)]


def keyword_function(
    name: str, label: str, keywords: Sequence[str], unless: Sequence[str] = ()
) -> LabellingFunction:
    """A function that gives a label to texts in which a keyword stands as a word of its own, in any case.

    Args:
        name: the function's name.
        label: what it gives.
        keywords: words or phrases; a star at an end matches the rest of a word: "refund*".
        unless: keywords that keep it silent.

    Returns:
        The function.
    """
    wanted, unwanted = _pattern(keywords), _pattern(unless) if unless else None

    def call(text: str) -> str | None:
        """The label where a keyword stands."""
        if wanted.search(text) is None or (unwanted is not None and unwanted.search(text) is not None):
            return None
        return label

    return LabellingFunction(name, call)


def _pattern(keywords: Iterable[str]) -> re.Pattern[str]:
    return re.compile(
        "|".join(_one_pattern(" ".join(keyword.split())) for keyword in keywords), re.IGNORECASE
    )


def _one_pattern(keyword: str) -> str:
    begins, ends = keyword.startswith("*"), keyword.endswith("*")
    core = keyword.strip("*")
    pattern = r"\s+".join(re.escape(word) for word in core.split(" "))
    before = r"\w*" if begins else r"(?<!\w)" if _is_of_words(core[0]) else ""
    after = r"\w*" if ends else r"(?!\w)" if _is_of_words(core[-1]) else ""
    return before + pattern + after


def _is_of_words(sign: str) -> bool:
    """True for signs of scripts that put something between words; Chinese and Japanese put nothing."""
    return sign.isalnum() and not "\u2e80" <= sign <= "\u9fff"


def _of_toml(path: Path) -> Iterable[LabellingFunction]:
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{path} is not valid TOML: {error}; mend that line") from None
    for name, about in tree.items():
        where = f"{path.name}: [{name}]"
        if not isinstance(about, dict):
            raise BadInput(f"{where} must be a table with label and keywords, got {about!r}; write [{name}]")
        for key in about:
            one_of(f"key in {where}", key, KEYS)
        label = about.get("label")
        if not isinstance(label, str) or not clean(label):
            raise BadInput(f'{where} label must be a label, got {label!r}; write label = "..."')
        yield keyword_function(
            name,
            clean(label),
            _keywords(where, "keywords", about.get("keywords")),
            _keywords(where, "unless", about["unless"]) if "unless" in about else (),
        )


def _keywords(where: str, key: str, given: Any) -> list[str]:
    if not isinstance(given, list) or not given or not all(_is_keyword(one) for one in given):
        raise BadInput(
            f'{where} {key} must be a list of words, got {given!r}; write {key} = ["lost", "stol*"]'
        )
    return given


def _is_keyword(given: Any) -> bool:
    return isinstance(given, str) and bool(given.strip("* \t")) and "*" not in given.strip("*")


def _of_csv(path: Path) -> Iterable[LabellingFunction]:
    """A function a label, named after it, of the columns keyword and label."""
    table = read_table(path)
    if not {"keyword", "label"} <= set(table.columns):
        raise BadInput(
            f"{path} must have the columns keyword and label, got {', '.join(table.columns)}; rename them"
        )
    found: dict[str, list[str]] = {}
    for number, keyword, label in table.frame.select(ROW, "keyword", "label").rows():
        if not _is_keyword(keyword) or not clean(label):
            raise BadInput(
                f"{path.name} row {number} must have a keyword and a label, got {keyword!r} and {label!r}; "
                "fill in both"
            )
        found.setdefault(clean(label), []).append(keyword)
    return [keyword_function(label, label, keywords) for label, keywords in found.items()]


def _of_python(path: Path) -> Iterable[LabellingFunction]:
    """The functions of a module that are made in it and whose name begins with no underscore."""
    module = _run(path)
    for name, value in vars(module).items():
        is_own = inspect.isfunction(value) and value.__module__ == module.__name__
        if is_own and not name.startswith("_"):
            if len(inspect.signature(value).parameters) != 1:
                raise BadInput(
                    f"{path.name}: {name} must take one text, got {inspect.signature(value)}; begin the "
                    "names of helpers with _"
                )
            yield LabellingFunction(name, value)


def _run(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"labelling_functions_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # it is the user's code: any of it may be wrong
        raise BadInput(f"{path} cannot be run: {type(error).__name__}: {error}; mend it") from error
    return module


OPENERS: dict[str, Callable[[Path], Iterable[LabellingFunction]]] = {
    ".toml": _of_toml,
    ".csv": _of_csv,
    ".py": _of_python,
}
