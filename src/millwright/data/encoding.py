"""Bytes of unknown encoding as UTF-8, block by block, so that a file of any size can be read.

A file that is UTF-8 but for some lines is decoded line by line; what fits nothing becomes U+FFFD.
"""

import codecs
import gzip
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from charset_normalizer import from_bytes

from millwright.errors import BadInput

SAMPLE_BYTES = 200_000
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
_WESTERN = set("àáâãäçèéêëìíîïñòóôöùúûüßœæÀÁÂÃÄÇÈÉÊËÍÎÑÓÔÖÚÛÜ‘’“”„«»–—…€£°§¿¡·´\xa0")

Blocks = Callable[[], Iterable[bytes]]


@dataclass(frozen=True)
class Encoding:
    """How a file is decoded; `codec` is None where lines of UTF-8 and of cp1252 are mixed."""

    name: str
    codec: str | None
    has_line_feed: bool


def file_blocks(path: Path, size: int, seen: Callable[[float], object]) -> Iterator[bytes]:
    """A file's content in blocks; gzipped content is unpacked, whatever the file is called.

    Args:
        path: the file.
        size: bytes a block.
        seen: called with the fraction of the file that was read.

    Yields:
        Blocks of at most `size` bytes.

    Raises:
        BadInput: the file is gzipped and damaged.
    """
    total = path.stat().st_size or 1  # files of /proc say that they have nothing
    with path.open("rb") as raw:
        is_packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        file = gzip.GzipFile(fileobj=raw) if is_packed else raw
        while True:
            try:
                block = file.read(size)
            except (OSError, EOFError, zlib.error) as error:
                if not is_packed:
                    raise
                raise BadInput(f"{path} is a damaged gzip file ({error}); compress it again") from None
            if not block:
                return
            seen(raw.tell() / total)
            yield block


def find_encoding(blocks: Blocks) -> Encoding:
    """Find out how bytes are to be decoded.

    Args:
        blocks: gives the content from its start each time it is called.

    Returns:
        The encoding: what a byte-order mark says, else UTF-8, else UTF-8 with lines of cp1252 where those
        look Western or many are not, else the one that fits the lines which are not UTF-8.
    """
    head = b""
    for block in blocks():
        head += block
        if len(head) >= max(len(mark) for mark, _ in _MARKS):
            break
    for mark, name in _MARKS:
        if head.startswith(mark):
            decoded = codecs.iterdecode(blocks(), name, errors="replace")
            return Encoding(name, name, any("\n" in text for text in decoded))
    has_line_feed = any(b"\n" in block for block in blocks())
    if _is_utf8(blocks()):
        return Encoding("utf-8", "utf-8", has_line_feed)
    ours, foreign, sample = 0, 0, bytearray()
    for line in _lines(blocks()):
        if _is_utf8([line]):
            ours += not line.isascii()
        else:
            foreign += 1
            if len(sample) < SAMPLE_BYTES:
                sample += line if line.endswith(b"\n") else line + b"\n"
    name = _encoding_of(bytes(sample[:SAMPLE_BYTES]))
    # A short line of another encoding may happen to be UTF-8, as 谢谢 in GBK; not one in ten is so.
    if ours and (name == "cp1252" or 10 * ours > foreign):
        return Encoding(f"utf-8 with {foreign} lines of cp1252", None, has_line_feed)
    return Encoding(name, name, has_line_feed)


def utf8_blocks(blocks: Iterable[bytes], encoding: Encoding) -> Iterator[bytes]:
    """The same content in UTF-8 without a byte-order mark; a character may stand across two blocks."""
    if encoding.codec == "utf-8":
        yield from blocks
    elif encoding.codec is None:
        for lines in whole_lines(blocks):
            yield lines if _is_utf8([lines]) else b"\n".join(map(_line_as_utf8, lines.split(b"\n")))
    else:
        for text in codecs.iterdecode(blocks, encoding.codec, errors="replace"):
            yield text.encode("utf-8", "replace")


def decode(content: bytes) -> tuple[str, str]:
    """Decode bytes of unknown encoding into a text and the encoding's name; see `find_encoding`."""
    encoding = find_encoding(lambda: [content])
    return b"".join(utf8_blocks([content], encoding)).decode("utf-8"), encoding.name


def _encoding_of(sample: bytes) -> str:
    # The detector takes short Western texts for Baltic or Polish. Letters that others' bytes would
    # show as too (Czech ř as ø, Hungarian ő as õ, Cyrillic е as å) don't count as Western here.
    western = sample.decode("cp1252", errors="replace")
    foreign = [character for character in western if not character.isascii()]
    if set(foreign) <= _WESTERN and len(foreign) < 0.2 * len(western):
        return "cp1252"
    best = from_bytes(sample).best()
    return best.encoding if best else "cp1252"


def _is_utf8(blocks: Iterable[bytes]) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for block in blocks:
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def whole_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, cut after line feeds only; the last block may have none at its end."""
    rest = b""
    for block in blocks:
        head, feed, tail = block.rpartition(b"\n")
        if feed:
            yield rest + head + feed
            rest = tail
        else:
            rest += block
    if rest:
        yield rest


def _lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    for lines in whole_lines(blocks):
        yield from lines.split(b"\n") if not lines.endswith(b"\n") else lines[:-1].split(b"\n")


def _line_as_utf8(line: bytes) -> bytes:
    return line if _is_utf8([line]) else line.decode("cp1252", errors="replace").encode()
