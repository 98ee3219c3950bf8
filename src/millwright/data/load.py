"""Reads a labelled file into strings: CSV, TSV, JSON Lines or Parquet, gzipped or not, any common encoding.

Knows nothing of which column means what. Rows count from 1, the header not included.
"""

import csv
import gzip
import io
import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from charset_normalizer import from_bytes

from millwright.errors import BadInput, NotFound
from millwright.records import Excluded

ROW = "__row__"
DELIMITERS = ",;\t|"
SAMPLE_BYTES = 200_000


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
        table = Table(path, _strings(_parquet(path, content)), "parquet")
    elif ending in (".jsonl", ".ndjson", ".json"):
        table = _json_lines(path, content)
    elif ending in (".csv", ".tsv", ".txt", ""):
        table = _delimited(path, content, ending)
    else:
        raise BadInput(f"{path} ends in {ending!r}; pass .csv, .tsv, .jsonl or .parquet")
    if table.frame.is_empty():
        raise BadInput(f"{path} has a header and no rows; add rows")
    return table


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
    best = from_bytes(sample).best()
    encoding = best.encoding if best else "cp1252"
    return content.decode(encoding, errors="replace"), encoding


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


def _strings(frame: pl.DataFrame) -> pl.DataFrame:
    columns = [
        pl.col(name).cast(pl.String, strict=False).fill_null("")
        if not dtype.is_nested()
        else pl.Series(name, [json.dumps(value, default=str) for value in frame[name].to_list()])
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
            rows.append({key: _cell(value) for key, value in row.items()})
            numbers.append(number)
        else:
            unreadable.append(Excluded(path.name, number, "is not a JSON object"))
    if not rows:
        raise BadInput(f"{path} has no line that is a JSON object; write one object a line")
    names = list(dict.fromkeys(key for row in rows for key in row))
    columns = {name: [row.get(name, "") for row in rows] for name in names}
    return Table(path, pl.DataFrame({ROW: numbers, **columns}), encoding, tuple(unreadable))


def _cell(value: object) -> str:
    if value is None:
        return ""
    return _no_surrogates(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _no_surrogates(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _delimited(path: Path, content: bytes, ending: str) -> Table:
    text, encoding = decode(content)
    header = text.lstrip("\n").split("\n", 1)[0]
    is_tab = ending == ".tsv"
    separator = "\t" if is_tab else max(DELIMITERS, key=lambda mark: header.count(mark))
    try:
        frame = pl.read_csv(
            io.BytesIO(text.encode("utf-8", "replace")),
            separator=separator,
            # Tab-separated values know no quoting; a lone quote in them is part of a message.
            quote_char=None if is_tab else '"',
            infer_schema=False,
            truncate_ragged_lines=True,
            missing_utf8_is_empty_string=True,
        )
    except pl.exceptions.PolarsError as polars_error:
        frame = _slow_csv(path, text, separator, polars_error)
    return Table(path, _strings(frame), encoding)


def _slow_csv(path: Path, text: str, separator: str, first_error: Exception) -> pl.DataFrame:
    # Polars refuses stray quotes; the standard library reads them as a person would.
    try:
        lines = list(csv.reader(io.StringIO(text.replace("\0", ""), newline=""), delimiter=separator))
    except csv.Error:
        raise BadInput(f"{path} is not a delimited file: {first_error}; quote fields that hold {separator!r}") from None
    names = [name or f"column_{place}" for place, name in enumerate(lines[0], start=1)]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise BadInput(f"{path} has two columns named {twice!r}; rename one")
    rows = [[*line, *[""] * len(names)][: len(names)] for line in lines[1:] if line]
    return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")
