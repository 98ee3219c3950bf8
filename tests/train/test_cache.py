"""The cache of states: made once a text, erased without a trace, bounded, damaged rows made again."""

import os

import pytest
import torch

from millwright.train import cache
from millwright.train.cache import cache_bytes, fetch, forget, text_key

LIMIT = 10**9


def maker(seen=None):
    """Makes of place p a [p + 1, 8] tensor of a value that stands nowhere else."""

    def make(places):
        for place in places:
            if seen is not None:
                seen.append(place)
            yield place, torch.full((place + 1, 8), 1000.0 + place)

    return make


def keys(*names):
    return [text_key(name) for name in names]


def files(folder):
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_second_fetch_makes_nothing_and_gives_the_same(tmp_path):
    first, made = fetch(tmp_path / "m", keys("a", "b", "c"), maker(), LIMIT)
    second, again = fetch(tmp_path / "m", keys("c", "a", "b"), maker(), LIMIT)
    assert (made, again) == (3, 0)
    assert all(torch.equal(first[old], second[new]) for old, new in ((0, 1), (1, 2), (2, 0)))


def test_only_what_is_missing_is_made(tmp_path):
    fetch(tmp_path / "m", keys(*"abcdefgh"), maker(), LIMIT)
    seen = []
    fetch(tmp_path / "m", keys(*"abcdefgh", "new"), maker(seen), LIMIT)
    assert seen == [8]


def test_an_erased_row_leaves_no_byte_in_any_file(tmp_path):
    names = list("abcd")
    for folder in ("features", "states"):
        fetch(tmp_path / folder, keys(*names), maker(), LIMIT)
    value, key = torch.full((3, 8), 1002.0).numpy().tobytes(), bytes.fromhex(text_key("c"))
    (tmp_path / "states" / ".x.safetensors.1.part").write_bytes(value)
    assert value in files(tmp_path)
    assert key in files(tmp_path)
    assert forget(tmp_path, keys("c")) == {keys("c")[0]: 2}
    assert value[:32] not in files(tmp_path)
    assert key not in files(tmp_path)
    seen = []
    fetch(tmp_path / "states", keys(*names), maker(seen), LIMIT)
    assert seen == [2]


def test_erasing_what_is_not_there_changes_no_file(tmp_path):
    fetch(tmp_path / "m", keys("a"), maker(), LIMIT)
    before = files(tmp_path)
    assert forget(tmp_path, keys("z")) == {}
    assert files(tmp_path) == before


def test_the_whole_cache_stays_within_its_limit_and_the_longest_unused_goes(tmp_path):
    for number, folder in enumerate(("old", "middle", "new")):
        fetch(tmp_path / folder, keys(*"abc"), maker(), LIMIT)
        for path in (tmp_path / folder).glob("*.safetensors"):
            os.utime(path, ns=(number, number))
    fetch(tmp_path / "old", keys("a"), maker(), LIMIT)  # used again: now the newest
    limit = cache_bytes(tmp_path)
    fetch(tmp_path / "more", keys("d"), maker(), limit)
    assert cache_bytes(tmp_path) <= limit
    held = {path.parent.name for path in tmp_path.glob("*/*.safetensors")}
    assert held == {"old", "new", "more"}


def test_the_limit_holds_while_rows_are_made_too(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "SHARD_BYTES", 1)
    fetch(tmp_path / "m", keys("a"), maker(), LIMIT)
    limit, seen = 3 * cache_bytes(tmp_path), []

    def make(places):
        for made in maker()(places):
            seen.append(cache_bytes(tmp_path))
            yield made

    fetch(tmp_path / "m", keys(*"bcdefghijk"), make, limit)
    assert len(seen) == 10
    assert max(seen) <= limit


def test_what_a_killed_process_left_goes_and_what_is_being_written_stays_and_counts(tmp_path):
    fetch(tmp_path / "m", keys("a"), maker(), LIMIT)
    killed, running = (tmp_path / "m" / f".{name}.safetensors.0123abcd.part" for name in ("old", "new"))
    for path in (killed, running):
        path.write_bytes(bytes(1_000))
    os.utime(killed, (0, 0))
    fetch(tmp_path / "m", keys("b"), maker(), 1_000)
    assert [path.name for path in (tmp_path / "m").iterdir()] == [running.name]


def test_a_shard_that_another_run_evicts_while_it_is_read_still_answers(tmp_path, monkeypatch):
    fetch(tmp_path / "m", keys("a", "b"), maker(), LIMIT)
    real = cache._checksum

    def evicted(key, value):
        for shard in tmp_path.rglob("*.safetensors"):
            shard.unlink()
        return real(key, value)

    monkeypatch.setattr(cache, "_checksum", evicted)
    found, made = fetch(tmp_path / "m", keys("a", "b"), maker(), LIMIT)
    assert made == 0
    assert [tensor[0, 0].item() for tensor in found] == [1000.0, 1001.0]


def test_a_limit_of_nothing_keeps_nothing_and_still_answers(tmp_path):
    found, made = fetch(tmp_path / "m", keys("a", "b"), maker(), 0)
    assert (len(found), made, cache_bytes(tmp_path)) == (2, 2, 0)


def test_a_run_that_was_killed_goes_on_where_it_stood(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "SHARD_BYTES", 1)

    def dies(places):
        yield from list(maker()(places))[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(tmp_path / "m", keys(*"abc"), dies, LIMIT)
    seen = []
    fetch(tmp_path / "m", keys(*"abc"), maker(seen), LIMIT)
    assert seen == [2]


VALUE = torch.full((2,), 1001.0).numpy().tobytes()


@pytest.mark.parametrize(
    "damage", [lambda content: content.replace(VALUE, b"12345678", 1), lambda content: content[:40]]
)
def test_a_damaged_shard_is_dropped_and_made_again(tmp_path, caplog, damage):
    whole, _ = fetch(tmp_path / "m", keys("a", "b"), maker(), LIMIT)
    whole = [tensor.clone() for tensor in whole]
    (shard,) = tmp_path.rglob("*.safetensors")
    content = shard.read_bytes()
    shard.unlink()
    shard.write_bytes(damage(content))
    again, made = fetch(tmp_path / "m", keys("a", "b"), maker(), LIMIT)
    assert made > 0
    assert all(torch.equal(old, new) for old, new in zip(whole, again, strict=True))
    assert shard.name in caplog.text


def test_rows_that_are_not_asked_for_are_not_read(tmp_path, monkeypatch):
    fetch(tmp_path / "m", keys(*"abcdef"), maker(), LIMIT)
    checked, real = [], cache._checksum
    monkeypatch.setattr(cache, "_checksum", lambda key, value: checked.append(len(value)) or real(key, value))
    fetch(tmp_path / "m", keys("b", "d"), maker(), LIMIT)
    assert sorted(checked) == [2, 4]
