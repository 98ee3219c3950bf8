"""Brings rows into canonical order, part by part, and learns on the way what a report says of them."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import polars as pl

from millwright.data.drafts import slice_columns
from millwright.data.duplicates import Resemblance
from millwright.data.lines import json_lines, quoted, quoted_or_null
from millwright.data.repeats import LISTED, Parts, moved
from millwright.data.sources import Sources
from millwright.data.spill import Spill
from millwright.data.texts import canonical_all
from millwright.records import SPLITS, JsonObject
from millwright.settings import DataSection

LINES_AT_ONCE = 20_000
_TEXT = np.dtype([("place", "<u8"), ("split", "u1")])


class Arrangement:
    """Walks kept rows in the order of their ids. The figures are complete once `lines` is exhausted."""

    def __init__(self, spill: Spill, parts: Parts, sources: Sources, data: DataSection, texts: int) -> None:
        """`texts` is how many different canonical texts the rows have."""
        self._spill, self._parts, self._sources, self._data = spill, parts, sources, data
        self._near = Resemblance(spill, data.near_duplicate_similarity, texts)
        self.lengths: Counter[int] = Counter()
        self.broken, self.broken_places = 0, list[int]()

    def lines(self, units: list[int], seen: Callable[[float], object]) -> Iterator[bytes]:
        """The rows as JSON lines, in pieces; takes the streams "rows", "dropped" and "same".

        Args:
            units: groups that were moved to training.
            seen: called with the fraction of the parts that are done.

        Yields:
            Lines, in pieces.
        """
        streams = [self._parts.names(kind) for kind in ("rows", "dropped", "same")]
        for part, names in enumerate(zip(*streams, strict=True), start=1):
            rows, dropped, same = (self._spill.take_frame(name) for name in names)
            if rows is None:
                continue
            rows = moved(_without(rows, dropped), units, self._parts).sort("id", "place")
            yield from map(self._as_lines, rows.iter_slices(LINES_AT_ONCE))
            self._learn(rows)
            self._compare(_without(rows, same))
            seen(part / self._parts.count)

    def _as_lines(self, rows: pl.DataFrame) -> bytes:
        digits = rows["id"].to_numpy().astype(">u8").tobytes().hex()
        ids = pl.Series("id", [digits[start : start + 16] for start in range(0, len(digits), 16)])
        rows = rows.with_columns(ids, self._sources.column(rows["place"]).alias("source"))
        fields = {
            "id": quoted(pl.col("id")),
            "text": quoted(pl.col("text")),
            "label": quoted(pl.col("label")),
            "split": quoted(
                pl.col("split").replace_strict(range(len(SPLITS)), SPLITS, return_dtype=pl.String)
            ),
            "source": quoted(pl.col("source")),
            "group": quoted(pl.col("group")),
            "subject": quoted_or_null(pl.col("subject")),
            "slices": _slices(self._data.slices, slice_columns(self._data)),
        }
        return json_lines(rows, fields)

    def _learn(self, rows: pl.DataFrame) -> None:
        self.lengths.update(dict(rows["text"].str.len_chars().value_counts().rows()))
        broken = rows.filter(pl.col("text").str.contains("\ufffd", literal=True))["place"]
        self.broken += len(broken)
        self.broken_places = sorted([*self.broken_places, *broken.sort().head(LISTED)])[:LISTED]
        self._parts.append(self._spill, "units", rows.select("unit", "split").unique(), "unit")

    def _compare(self, rows: pl.DataFrame) -> None:
        is_text = rows["group"].str.starts_with("t:")
        texts = rows["group"].str.slice(2)
        if not is_text.all():
            grouped = (~is_text).arg_true()
            texts = texts.scatter(grouped, canonical_all(rows["text"].gather(grouped)))
        self._near.add(texts.to_list())
        text_N = np.empty(len(rows), _TEXT)
        text_N["place"], text_N["split"] = rows["place"].to_numpy(), rows["split"].to_numpy()
        self._spill.append("texts", text_N.tobytes())

    def near_duplicates(self, seen: Callable[[float], object]) -> JsonObject:
        """What the report says of near duplicates: how many pairs, and the first of them by source.

        Args:
            seen: called with the fraction done.

        Returns:
            Counts, and examples in reading order.
        """
        pairs = across = 0
        listed: list[tuple[int, int, float]] = []
        for earlier_N, later_N, found_N in self._near.pairs(seen):
            one_N, other_N = self._texts(earlier_N), self._texts(later_N)
            pairs += len(found_N)
            across += int((one_N["split"] != other_N["split"]).sum())
            first_N = np.minimum(one_N["place"], other_N["place"])
            second_N = np.maximum(one_N["place"], other_N["place"])
            order_N = np.argsort(second_N)[:LISTED]
            columns = (part[order_N].tolist() for part in (second_N, first_N, found_N))
            listed = sorted([*listed, *zip(*columns, strict=True)])[:LISTED]
        named = [[self._sources.of(a), self._sources.of(b), round(found, 3)] for b, a, found in listed]
        return {"pairs": pairs, "across_splits": across, "listed": named}

    def _texts(self, number_N: np.ndarray) -> np.ndarray:
        size = _TEXT.itemsize
        content = self._spill.gather("texts", (number_N * size).tolist(), [size] * len(number_N))
        return np.frombuffer(content, _TEXT)


def _without(rows: pl.DataFrame, others: pl.DataFrame | None) -> pl.DataFrame:
    if others is None:
        return rows
    return rows.join(others, on="place", how="anti", maintain_order="left")


def _slices(names: Sequence[str], columns: Sequence[str]) -> pl.Expr:
    """The slices as a JSON object; rows of the feedback have none."""
    if not names:
        return pl.lit("{}")
    pieces: list[pl.Expr] = []
    for place, (name, column) in enumerate(zip(names, columns, strict=True)):
        pieces += [pl.lit(", " if place else "{"), quoted(pl.lit(name)), pl.lit(": "), quoted(pl.col(column))]
    return pl.concat_str(*pieces, pl.lit("}")).fill_null("{}")
