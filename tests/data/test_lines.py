import json
import random

import polars as pl

from millwright.data.lines import json_lines, quoted, quoted_or_null


def test_lines_are_byte_for_byte_what_the_standard_library_writes():
    chance = random.Random(0)
    alphabet = [*map(chr, range(0x250)), "\u2028", "汉", "👩", '"', "\\", '"', "\\"]
    texts = ["".join(chance.choices(alphabet, k=chance.randrange(20))) for _ in range(3_000)]
    maybe = [None if chance.random() < 0.3 else text for text in texts]
    frame = pl.DataFrame({"a": texts, "b": maybe, "n": range(len(texts))})
    fields = {
        'te"xt': quoted(pl.col("a")),
        "b": quoted_or_null(pl.col("b")),
        "n": pl.col("n").cast(pl.String),
    }
    expected = [
        json.dumps({'te"xt': text, "b": other, "n": number}, ensure_ascii=False)
        for number, (text, other) in enumerate(zip(texts, maybe, strict=True))
    ]
    assert json_lines(frame, fields).decode() == "".join(line + "\n" for line in expected)


def test_no_rows_are_no_lines():
    frame = pl.DataFrame(schema={"a": pl.String})
    assert json_lines(frame, {"a": quoted(pl.col("a"))}) == b""
