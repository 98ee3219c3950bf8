"""Reads a labelled file into strings: CSV, TSV, JSON Lines or Parquet, gzipped or not, any common encoding.

Knows nothing of which column means what. Rows count from 1, the header not included.
"""

import csv
import gzip
import io
import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from charset_normalizer import from_bytes

from millwright.errors import BadInput, NotFound
from millwright.records import Excluded

ROW = "__row__"
DELIMITERS = ",;\t|"
SAMPLE_BYTES = 200_000
_WESTERN = set("àáâãäçèéêëìíîïñòóôöùúûüßœæÀÁÂÃÄÇÈÉÊËÍÎÑÓÔÖÚÛÜ‘’“”„«»–—…€£°§¿¡·´\xa0")


@dataclass(frozen=True)
class Table:
    """A file's rows. `frame` has the row's number in column ROW; all other columns are strings."""

    path: Path
    frame: pl.DataFrame
    encoding: str
    unreadable: tuple[Excluded, ...] = ()

    @property
    def columns(self) -> list[str]:
        """The file's own columns."""
        return [name for name in self.frame.columns if name != ROW]


def read_table(path: Path) -> Table:
    """Read a file by its ending; `.gz` after it or gzipped content is unpacked.

    Args:
        path: a .csv, .tsv, .txt, .jsonl, .ndjson, .json (lines) or .parquet file.

    Returns:
        Every row, missing values as empty strings.

    Raises:
        NotFound: there is no such file.
        BadInput: it is empty, has only a header, or is not what its ending says.
    """
    if not path.is_file():
        raise NotFound(f"no file {path}; check the path")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    ending = next((suffix for suffix in reversed(suffixes) if suffix != ".gz"), "")
    content = _unpack(path)
    if not content.strip():
        raise BadInput(f"{path} is empty; it needs a header line and rows")
    if ending == ".parquet":
        table = Table(path, _strings(path, _parquet(path, content)), "parquet")
    elif ending in (".jsonl", ".ndjson", ".json"):
        table = _json_lines(path, content)
    elif ending in (".csv", ".tsv", ".txt", ""):
        table = _delimited(path, content, ending)
    else:
        raise BadInput(f"{path} ends in {ending!r}; pass .csv, .tsv, .jsonl or .parquet")
    if table.frame.is_empty():
        raise BadInput(f"{path} has a header and no rows; add rows")
    return table


def _named(path: Path, header: Sequence[str | None]) -> list[str]:
    """The names in a header line, a column without one by its place."""
    names = [name or f"column_{place}" for place, name in enumerate(header, start=1)]
    _check_names(path, names)
    return names


def _check_names(path: Path, names: Sequence[str]) -> None:
    if ROW in names:
        raise BadInput(f"{path} has a column named {ROW!r}, which is kept for row numbers; rename it")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadInput(f"{path} has two columns named {twice!r}; rename one")


def decode(content: bytes) -> tuple[str, str]:
    """Decode bytes of unknown encoding.

    Args:
        content: a file's bytes.

    Returns:
        The text and the encoding's name. A file that is UTF-8 but for some lines is decoded line by
        line ("utf-8 with N lines of cp1252"); what fits nothing becomes U+FFFD.
    """
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")):
        if content.startswith(mark):
            return content.decode(encoding, errors="replace"), encoding
    try:
        return content.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        pass
    lines = content.split(b"\n")
    decoded = [_utf8_or_none(line) for line in lines]
    foreign = sum(line is None for line in decoded)
    is_mixed = any(line is not None and not line.isascii() for line in decoded)
    if is_mixed:
        text = "\n".join(
            raw.decode("cp1252", errors="replace") if line is None else line
            for raw, line in zip(lines, decoded, strict=True)
        )
        return text, f"utf-8 with {foreign} lines of cp1252"
    sample = b"\n".join(raw for raw, line in zip(lines, decoded, strict=True) if line is None)[:SAMPLE_BYTES]
    encoding = _encoding_of(sample)
    return content.decode(encoding, errors="replace"), encoding


def _encoding_of(sample: bytes) -> str:
    # The detector takes short Western texts for Baltic or Polish. Letters that others' bytes would
    # show as too (Czech ř as ø, Hungarian ő as õ, Cyrillic е as å) don't count as Western here.
    western = sample.decode("cp1252", errors="replace")
    foreign = [character for character in western if not character.isascii()]
    if set(foreign) <= _WESTERN and len(foreign) < 0.2 * len(western):
        return "cp1252"
    best = from_bytes(sample).best()
    return best.encoding if best else "cp1252"


def _utf8_or_none(line: bytes) -> str | None:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _unpack(path: Path) -> bytes:
    content = path.read_bytes()
    if content[:2] != b"\x1f\x8b":
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput(f"{path} is a damaged gzip file ({error}); compress it again") from None


def _parquet(path: Path, content: bytes) -> pl.DataFrame:
    try:
        return pl.read_parquet(io.BytesIO(content))
    except pl.exceptions.PolarsError as error:
        raise BadInput(f"{path} is not a Parquet file: {error}; write it again") from None


def _strings(path: Path, frame: pl.DataFrame) -> pl.DataFrame:
    _check_names(path, frame.columns)
    columns = [
        pl.col(name).cast(pl.String, strict=False).fill_null("")
        if not dtype.is_nested() and dtype not in (pl.Duration, pl.Binary)
        else pl.Series(name, [_cell(value) for value in frame[name].to_list()], dtype=pl.String)
        for name, dtype in frame.schema.items()
    ]
    return frame.select(columns).with_row_index(ROW, offset=1)


def _json_lines(path: Path, content: bytes) -> Table:
    text, encoding = decode(content)
    rows, numbers, unreadable = [], [], []
    for number, line in enumerate((line for line in text.split("\n") if line.strip()), start=1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if isinstance(row, dict):
            rows.append({_cell(key): _cell(value) for key, value in row.items()})
            numbers.append(number)
        else:
            unreadable.append(Excluded(path.name, number, "is not a JSON object"))
    if not rows:
        raise BadInput(f"{path} has no line that is a JSON object; write one object a line")
    names = list(dict.fromkeys(key for row in rows for key in row))
    _check_names(path, names)
    columns = {name: [row.get(name, "") for row in rows] for name in names}
    return Table(path, pl.DataFrame({ROW: numbers, **columns}), encoding, tuple(unreadable))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    # JSON can spell half a surrogate pair, which no encoding can write.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _delimited(path: Path, content: bytes, ending: str) -> Table:
    text, encoding = decode(content)
    text = (text if "\n" in text else text.replace("\r", "\n")).lstrip("\r\n")
    if not text.strip():
        raise BadInput(f"{path} is empty; it needs a header line and rows")
    header = text.split("\n", 1)[0]
    is_tab = ending == ".tsv"
    # Tab-separated values know no quoting; a lone quote in them is part of a message.
    quote = None if is_tab else '"'
    separator = "\t" if is_tab else max(DELIMITERS, key=lambda mark: header.count(mark))
    if quote and text.count(quote) % 2:
        return _slow_csv(path, text, separator, encoding=encoding, quote=quote)
    try:
        frame, names = (
            pl.read_csv(
                io.BytesIO(text.encode("utf-8", "replace")),
                separator=separator,
                quote_char=quote,
                infer_schema=False,
                has_header=has_header,
                n_rows=n_rows,
            )
            # Once more for the header alone, in which Polars would give a second name like the first its own.
            for has_header, n_rows in ((True, None), (False, 1))
        )
    except pl.exceptions.PolarsError:
        return _slow_csv(path, text, separator, encoding=encoding, quote=quote)
    frame.columns = _named(path, names.row(0))
    return Table(path, _strings(path, frame), encoding)


def _slow_csv(path: Path, text: str, separator: str, *, encoding: str, quote: str | None) -> Table:
    # Polars refuses stray quotes and rows of another length, and lets an open quote swallow the rest
    # of the file; the standard library reads the first as a person would and tells the others apart.
    lines = _csv_lines(path, text.replace("\0", ""), separator, quote)
    names = _named(path, lines[0])
    rows, numbers, unreadable = [], [], []
    for number, line in enumerate(lines[1:], start=1):
        if any(line[len(names) :]):
            reason = f"has {len(line)} fields, the header {len(names)}; quote fields that hold {separator!r}"
            unreadable.append(Excluded(path.name, number, reason))
        else:
            rows.append([*line, *[""] * len(names)][: len(names)])
            numbers.append(number)
    columns = {name: [row[place] for row in rows] for place, name in enumerate(names)}
    schema = {ROW: pl.UInt32, **dict.fromkeys(names, pl.String)}
    return Table(path, pl.DataFrame({ROW: numbers, **columns}, schema=schema), encoding, tuple(unreadable))


def _csv_lines(path: Path, text: str, separator: str, quote: str | None) -> list[list[str]]:
    end = "__end__"  # an open quote swallows this line too, which gives it away
    raw = [*io.StringIO(text.rstrip("\r\n") + "\n", newline=""), end]
    limit = csv.field_size_limit(len(text) + len(end) + 1)
    try:
        if quote is None:
            lines = list(csv.reader(raw, delimiter=separator, quoting=csv.QUOTE_NONE))
        else:
            lines = list(csv.reader(raw, delimiter=separator, quotechar=quote))
    finally:
        csv.field_size_limit(limit)
    if lines.pop() != [end]:
        raise BadInput(f"{path}: a quote opens in row {len(lines)} and is never closed; close or double it")
    return lines
