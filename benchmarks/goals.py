"""What Millwright set out to reach, and what the records say: the table at the head of docs/benchmarks.md.

A goal is open, neither met nor missed, where its contestants were not measured, or not in turns: figures of
runs apart differ by what else the machine did.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from record import Row

Records = Mapping[str, Sequence[Row]]
Goal = tuple[str, str, bool | None]  # what is wanted, what was measured, whether it is met; None is open
SHOTS = (1, 5, 10)
UNMEASURED = "not measured"


def goals(records: Records) -> Iterator[Goal]:
    """Every goal whose record is there."""
    for name, told in TOLD.items():
        if name in records:
            yield from told([row for row in records[name] if "missing" not in row])


def bound_of_serving(rows: Sequence[Row]) -> str:
    """How far a server can get ahead of one around PyTorch, by the record of the ceiling; "" without one."""
    rate = {
        (str(row["what"]), str(row.get("precision"))): _number(row, "measured")
        for row in rows
        if str(row["what"]).startswith("encoder")
    }
    theirs = max((rate[key] for key in rate if key[0] == "encoder, torch"), default=0.0)
    if not theirs:
        return ""
    (what, precision), ours = max(rate.items(), key=lambda item: item[1])
    return (
        "Batching peers run the network in PyTorch. Without any server, in large batches of like length, the "
        f"fastest runtime here ({what.removeprefix('encoder, ')} in {precision}) answers {ours / theirs:.1f} "
        "times as many sentences as PyTorch's fastest (below, Ceiling): a peer that wasted nothing could be "
        "beaten by that factor, and no more."
    )


def _training(rows: Sequence[Row]) -> Iterator[Goal]:
    for processor in sorted({str(row["processor"]) for row in rows}):
        for goal, measured, met in _training_on([row for row in rows if row["processor"] == processor]):
            yield f"{goal} ({processor})", measured, met


def _training_on(rows: Sequence[Row]) -> Iterator[Goal]:
    by_name = {str(row["contestant"]): row for row in rows}
    for share, seconds in ((93, 20), (94, 60)):
        reached = [_number(row, f"reached_{share}_s") for row in rows if row.get(f"reached_{share}_s")]
        ours = [_number(row, f"reached_{share}_s") for name, row in by_name.items() if name in ("head", "top")
                and row.get(f"reached_{share}_s")]  # fmt: skip
        if reached and ours:
            yield f"Banking77 to {share} % within {seconds} s", f"{min(ours):.1f} s", min(ours) < seconds
    head, plain = by_name.get("head"), by_name.get("trainer-default")
    if head is None:
        return
    tuned = [row for name, row in by_name.items() if name.startswith("trainer-") and row is not plain]
    best = max(tuned, key=lambda row: (_best_accuracy(row), -_number(row, "seconds")), default=None)
    for peer, times, title in (
        (best, 10, "Hugging Face's Trainer at the best rate tried"),
        (plain, 30, "its defaults"),
    ):
        yield _faster(f"{times} times faster than {title}, to no less accuracy", head, peer, times)


def _faster(goal: str, head: Row, peer: Row | None, times: int) -> Goal:
    """Whether a head is so many times faster than a peer, and no worse."""
    if peer is None:
        return goal, UNMEASURED, None
    accuracies = f"{_number(head, 'accuracy'):.1%} against {_best_accuracy(peer):.1%}"
    if "times_faster" not in peer:
        ratio = _number(peer, "seconds") / _number(head, "seconds")
        return goal, f"{accuracies}, {ratio:.0f} times, but not in turns", None
    ratio, low, high = (_number(peer, f"times_{key}") for key in ("faster", "low", "high"))
    is_no_worse = _number(head, "accuracy") >= _best_accuracy(peer)
    told = f"{accuracies}, {ratio:.0f} times ({low:.0f} to {high:.0f})"
    return goal, told, ratio >= times and is_no_worse


def _best_accuracy(row: Row) -> float:
    """What a contestant ever had, which is what its ratio counts until."""
    curve = row.get("curve")
    if not isinstance(curve, list):
        return _number(row, "accuracy")
    return max(float(accuracy) for _, accuracy in curve)


def _few(rows: Sequence[Row]) -> Iterator[Goal]:
    by_name = {(row["contestant"], row["shots"]): row for row in rows if "seed" not in row}
    for shots in SHOTS:
        goal = f"{shots} {'row' if shots == 1 else 'rows'} a class: no worse than SetFit, 10 times faster"
        head, peer = by_name["head", shots], by_name.get(("setfit", shots))
        on_its_draws = {} if peer is None else {"accuracy": peer.get("heads_accuracy", head["accuracy"])}
        yield _faster(goal, {**head, **on_its_draws}, peer, 10)


def _serving(rows: Sequence[Row]) -> Iterator[Goal]:
    most = [row for row in rows if row["concurrency"] == 64]
    alone = [row for row in rows if row["concurrency"] == 1]
    simple = [row for row in most if row["peer"] == "fastapi"]
    batching = [row for row in most if row["peer"] != "fastapi"]
    for times, title, peers in ((20, "FastAPI around a pipeline", simple), (5, "the best peer", batching)):
        goal = f"64 connections: {times} times the requests of {title}"
        best = min(peers, key=lambda row: _number(row, "ratio"), default=None)
        ratio = _number(best, "ratio") if best else 0.0
        yield (
            goal,
            f"{ratio:.1f} times ({best['title']})" if best else UNMEASURED,
            ratio >= times if best else None,
        )
    timed = [row for row in batching if row.get("ours_p99_ms_at_peers_rate") is not None]
    if timed:
        worse = [
            row for row in timed if _number(row, "ours_p99_ms_at_peers_rate") > _number(row, "peer_p50_ms")
        ]
        told = f"{len(timed) - len(worse)} of {len(timed)} peers"
        yield "64 connections: p99 at a batching peer's rate no higher than its p50", told, not worse
    if alone:
        slower = [row for row in alone if _number(row, "ours_p50_ms") >= _number(row, "peer_p50_ms")]
        told = f"{len(alone) - len(slower)} of {len(alone)} peers"
        yield "1 connection: a lower p50 than each peer", told, not slower


def _overhead(rows: Sequence[Row]) -> Iterator[Goal]:
    own = {row["host"]: row for row in rows if row.get("app") == "millwright" and row["concurrency"] == 64}
    if "uvicorn" in own:
        share = _number(own["uvicorn"], "share_of_same_host")
        told = f"{share:.0%} of uvicorn, which serves"
        if "granian" in own:
            told += f" ({_number(own['granian'], 'share_of_same_host'):.0%} of Granian)"
        yield "64 connections, an empty model: 70 % of a bare server's requests", told, share >= 0.7


def _ceiling(rows: Sequence[Row]) -> Iterator[Goal]:
    needed = next((_number(row, "measured") for row in rows if row["what"] == "a sentence needs"), 0.0)
    for row in rows:
        if str(row["what"]) == "encoder, OpenVINO":
            times, told = _number(row, "times_from_ceiling"), ""
            kind = f"{row['precision']}, OpenVINO"
            products = [_number(one, "measured") for one in rows if one.get("precision") == kind]
            if products and needed:
                own = max(products) / needed / _number(row, "measured")
                told = f" ({own:.2f} of what OpenVINO's own products allow)"
            wanted = f"the encoder in {row['precision']} within 1.5 times of its bound"
            yield wanted, f"{times:.2f} times{told}", times <= 1.5


def _preparation(rows: Sequence[Row]) -> Iterator[Goal]:
    own = [row for row in rows if row["contestant"] == "millwright prepare"]
    beside = [row for row in own if row.get("times_faster")]
    if beside:
        row = max(beside, key=lambda row: _number(row, "rows"))
        times = _number(row, "times_faster")
        wanted = f"{row['rows']:,} rows prepared 10 times faster than pandas with datasketch"
        yield wanted, f"{times:.1f} times", times >= 10
    last = max(own, key=lambda row: _number(row, "rows"))
    if last.get("memory_exponent") is not None:
        exponent = _number(last, "memory_exponent")
        told = f"exponent {exponent:.2f}, {_number(last, 'peak_mb'):,.0f} MB at {last['rows']:,} rows"
        yield "memory of preparation flat in rows (an exponent under 0.2)", told, exponent < 0.2


def _wheel_cost(rows: Sequence[Row]) -> Iterator[Goal]:
    largest = max(_number(row, "rows") for row in rows if "rows" in row)
    for row in rows:
        if row["stage"] == "all" and "exponent_processor_seconds" in row:
            exponent = _number(row, "exponent_processor_seconds")
            told = f"exponent {exponent:.2f}, to {largest:,.0f} rows"
            yield "processor time of the whole wheel at most linear in rows", told, exponent <= 1


def _detection(rows: Sequence[Row]) -> Iterator[Goal]:
    for row in rows:
        if row.get("half") == "held-out templates" and row["contestant"] == "Millwright":
            if row["match"] == 0.75:
                f2 = _number(row, "f2")
                yield "personal data, held-out templates: F2 of 0.85", f"{f2:.3f}", f2 >= 0.85
        elif row["what"] == "speed":
            ratio = _number(row, "ratio")
            yield "10 times the texts a second of Presidio", f"{ratio:.1f} times", ratio >= 10
    if million := [_number(row, "ratio") for row in rows if row["part"] == "million"]:
        told = f"{min(million):.1f} to {max(million):.1f} times"
        yield "a million texts in batch: 10 times the texts a second of Presidio", told, min(million) >= 10


def _experiments(rows: Sequence[Row]) -> Iterator[Goal]:
    own = ("betting (decides)", "two proportions", "empirical Bernstein", "sequential ratio test")
    parts = ("false alarms", "shares that follow outcomes")
    alarms = [row for row in rows if row["part"] in parts and row["method"] in own and "kept" in row]
    if alarms:
        kept = sum(bool(row["kept"]) for row in alarms)
        told = f"{kept} of {len(alarms)} settings"
        yield (
            "methods that hold at every look: false alarms at most alpha and two errors",
            told,
            kept == len(alarms),
        )
    times = [
        _number(row, "times_fixed")
        for row in rows
        if row["part"] == "users to a decision" and row["method"] == own[0] and row.get("times_fixed")
    ]
    if times:
        yield (
            "users to a decision at most 1.6 times the fixed sample",
            f"{min(times):.2f} to {max(times):.2f} times",
            max(times) <= 1.6,
        )


def _wheel(rows: Sequence[Row]) -> Iterator[Goal]:
    for row in rows:
        if row["part"] == "goal" and row["what"] == "the queue":
            share = _number(row, "share_of_all")
            yield f"with a quarter of the labels {row['setting']}", f"{share:.1%}", share >= 0.95
        if row["part"] == "projects" and str(row["setting"]).startswith("10 %"):
            harmful = int(_number(row, "harmful"))
            told = f"{harmful} of {row['promotions']} promotions"
            yield f"no harmful promotion in {row['projects']} simulated projects", told, not harmful


def _harmful(rows: Sequence[Row]) -> Iterator[Goal]:
    for rule in dict.fromkeys(row["rule"] for row in rows if str(row["rule"]).startswith("experiments")):
        own = [row for row in rows if row["rule"] == rule]
        shipped, harmful = (sum(int(_number(row, key)) for row in own) for key in ("shipped", "harmful"))
        yield f"no harmful version shipped: {rule}", f"{harmful} of {shipped} shipped", not harmful


def _number(row: Row, key: str) -> float:
    value = row[key]
    assert isinstance(value, (int, float))
    return float(value)


TOLD: dict[str, Callable[[Sequence[Row]], Iterator[Goal]]] = {
    "time_to_accuracy": _training,
    "few_shot": _few,
    "serving": _serving,
    "http_overhead": _overhead,
    "ceiling": _ceiling,
    "preparation": _preparation,
    "detection": _detection,
    "wheel_cost": _wheel_cost,
    "experiments": _experiments,
    "wheel": _wheel,
    "harmful": _harmful,
}
