"""Exact duplicates, conflicts and moves, found part by part from the keys of rows, not from their texts.

A key frame has the columns of KEY. Rows whose texts are equal once case, punctuation and spacing don't
count lie in the same part, so what concerns one text is decided within one part.
"""

from dataclasses import dataclass

import polars as pl

from millwright.data.drafts import ROW_BITS, TEST
from millwright.data.spill import Spill
from millwright.records import SPLITS

LISTED = 50  # how many examples of a finding a report names
KEY = {
    "high": pl.UInt64,  # with `low` the hash of the canonical text
    "low": pl.UInt64,
    "place": pl.UInt64,
    "id": pl.UInt64,
    "unit": pl.UInt64,
    "code": pl.UInt32,  # the label's number
    "split": pl.UInt8,
}
STRETCH_BITS = 20  # repeats are listed in reading order, so many places at a time
TRAIN = SPLITS.index("train")
_TEXT = ("high", "low")


@dataclass(frozen=True)
class Parts:
    """How rows are divided: keys by text and rows by id, into `count` parts each."""

    count: int
    feedback: int  # the number of the source that is no file; weak rows have the next one
    has_test_files: bool

    def names(self, kind: str) -> list[str]:
        """The streams of one kind, in the parts' order."""
        return [f"{kind}-{part:05}" for part in range(self.count)]

    def append(self, spill: Spill, kind: str, frame: pl.DataFrame, hashed: str) -> None:
        """Append each row to its part's stream; the parts of ids are in the ids' order."""
        part = ((pl.col(hashed) // (1 << 32)) * self.count) // (1 << 32)
        names = self.names(kind)
        divided = frame.with_columns(part.alias("part")).partition_by("part", include_key=False, as_dict=True)
        for (number,), rows in divided.items():
            spill.append_frame(names[number], rows)

    @property
    def is_file(self) -> pl.Expr:
        """False for rows of the feedback and for weak ones."""
        return (pl.col("place") // (1 << ROW_BITS)) < self.feedback

    @property
    def is_weak(self) -> pl.Expr:
        """True for rows that labelling functions labelled."""
        return (pl.col("place") // (1 << ROW_BITS)) > self.feedback

    @property
    def may_train(self) -> pl.Expr:
        """False for rows that are only tested on: those of test_files and of held-out users."""
        return (pl.col("split") != TEST) | (self.is_file & (not self.has_test_files))


@dataclass(frozen=True)
class Kept:
    """What is left once repeats are dropped.

    `labels` has a row for each label: code, how many rows it has in training that aren't weak, how many that
    may train, how many weak ones, the first place of a row that may be moved to training, and the unit of the
    movable row of least id. `repeats` were dropped because they say what an earlier row says, `outdone` are
    weak rows whose text has a label that isn't weak.
    """

    texts: int
    repeats: int
    outdone: int
    labels: pl.DataFrame


def drop_repeats(spill: Spill, parts: Parts) -> Kept:
    """Find rows that repeat text and label of an earlier one, training and test apart, and weak rows whose
    text has another row that isn't weak.

    Reads the streams "keys". Writes "kept": keys without repeats; "dropped": places of repeats, by id;
    "same": places of rows whose text an earlier kept row has, by id; "repeats": places of dropped rows and
    of what stands instead, by stretches of reading.

    Args:
        spill: where the streams are.
        parts: how they are divided.

    Returns:
        What is left.
    """
    texts = repeats = outdone = 0
    tallies: list[pl.DataFrame] = []
    for name, kept_name in zip(parts.names("keys"), parts.names("kept"), strict=True):
        keys = spill.take_frame(name)
        if keys is None:
            continue
        is_test = (pl.col("split") == TEST).alias("is_test")
        keys = keys.with_columns(is_test, clean=pl.when(~parts.is_weak).then("place").min().over(*_TEXT))
        weaker = parts.is_weak & pl.col("clean").is_not_null()
        keys = keys.with_columns(
            first=pl.when(weaker)
            .then("clean")
            .otherwise(pl.col("place").min().over(*_TEXT, "code", "is_test"))
        )
        again = keys.filter(pl.col("place") != pl.col("first"))
        kept = keys.filter(pl.col("place") == pl.col("first")).select(*KEY)
        same = kept.filter(pl.col("place") != pl.col("place").min().over(*_TEXT))
        parts.append(spill, "dropped", again.select("place", "id"), "id")
        parts.append(spill, "same", same.select("place", "id"), "id")
        stretch = (pl.col("place") // (1 << STRETCH_BITS)).alias("stretch")
        for (number,), rows in (
            again.select("place", "first", stretch).partition_by("stretch", as_dict=True).items()
        ):
            spill.append_frame(f"repeats-{number:014}", rows.select("place", "first"))
        spill.append_frame(kept_name, kept)
        texts += len(kept) - len(same)
        outdone += int(again.select(weaker.sum()).item())
        repeats += len(again)
        tallies = [_tally([*tallies, _label_tally(kept, parts)])]
    return Kept(texts, repeats - outdone, outdone, _tally(tallies))


def _label_tally(kept: pl.DataFrame, parts: Parts) -> pl.DataFrame:
    is_movable = parts.may_train & parts.is_file
    movable = (
        kept.filter(is_movable)
        .sort("id")
        .group_by("code")
        .agg(
            pl.col("place").min().alias("movable_place"),
            pl.col("id").first().alias("movable_id"),
            pl.col("unit").first().alias("movable_unit"),
        )
    )
    counted = kept.group_by("code").agg(
        ((pl.col("split") == TRAIN) & ~parts.is_weak).sum().cast(pl.Int64).alias("training"),
        parts.may_train.sum().cast(pl.Int64).alias("may_train"),
        parts.is_weak.sum().cast(pl.Int64).alias("weak"),
    )
    return counted.join(movable, on="code", how="left")


def _tally(tallies: list[pl.DataFrame]) -> pl.DataFrame:
    """One row a label of the tallies of several parts."""
    if not tallies:
        names = ("code", "training", "may_train", "weak", "movable_place", "movable_id", "movable_unit")
        return pl.DataFrame(schema=dict.fromkeys(names, pl.Int64))
    return (
        pl.concat(tallies)
        .sort("movable_id", nulls_last=True)
        .group_by("code")
        .agg(
            pl.col("training", "may_train", "weak").sum(),
            pl.col("movable_place").min(),
            pl.col("movable_id", "movable_unit").first(),
        )
    )


def moved(frame: pl.DataFrame, units: list[int], parts: Parts) -> pl.DataFrame:
    """A frame whose rows of these units stand in training, if they may train."""
    if not units:
        return frame
    goes = pl.col("unit").is_in(pl.Series(units, dtype=pl.UInt64).implode()) & parts.may_train
    return frame.with_columns(split=pl.when(goes).then(pl.lit(TRAIN, pl.UInt8)).otherwise(pl.col("split")))


@dataclass(frozen=True)
class Findings:
    """What concerns whole texts: counts, and the places of the first examples in reading order.

    `labels` has a row for each label and split: code, split, rows.
    """

    labels: pl.DataFrame
    across: int
    across_places: list[list[int]]
    conflicts: int
    conflict_places: list[list[int]]


def examine(spill: Spill, parts: Parts, units: list[int]) -> Findings:
    """Find texts that stand in more than one split or have more than one label; takes "kept".

    Args:
        spill: where the streams are.
        parts: how they are divided.
        units: groups that were moved to training.

    Returns:
        The findings over all rows.
    """
    counts: list[pl.DataFrame] = []
    found: dict[str, tuple[int, pl.DataFrame | None]] = {"split": (0, None), "code": (0, None)}
    for name in parts.names("kept"):
        kept = spill.take_frame(name)
        if kept is None:
            continue
        kept = moved(kept, units, parts)
        counts.append(kept.group_by("code", "split").agg(pl.len().cast(pl.Int64).alias("rows")))
        counts = [pl.concat(counts).group_by("code", "split").agg(pl.col("rows").sum())]
        shared = kept.filter(pl.len().over(*_TEXT) > 1).sort("place")
        for differing, (count, examples) in found.items():
            texts = shared.group_by(*_TEXT).agg(
                "place", pl.col(differing).n_unique().alias("values"), pl.col("place").min().alias("first")
            )
            texts = texts.filter(pl.col("values") > 1).select("first", "place")
            listed = [frame for frame in (examples, texts) if frame is not None]
            found[differing] = count + len(texts), pl.concat(listed).sort("first").head(LISTED)
    places = {
        name: [] if examples is None else examples["place"].to_list() for name, (_, examples) in found.items()
    }
    return Findings(counts[0], found["split"][0], places["split"], found["code"][0], places["code"])


def count_split_groups(spill: Spill, parts: Parts) -> int:
    """How many groups stand in more than one split; takes the streams "units"."""
    count = 0
    for name in parts.names("units"):
        units = spill.take_frame(name)
        if units is not None:
            count += int((units.group_by("unit").agg(pl.col("split").n_unique())["split"] > 1).sum())
    return count
