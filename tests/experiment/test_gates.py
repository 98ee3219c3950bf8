"""Each gate blocks what it is there for, says so, and lets the rest pass."""

from dataclasses import replace

import numpy as np
import pytest

from millwright.experiment.compare import compare_paired
from millwright.experiment.gates import Changes, blocked_by

ALPHA = 0.05
SAME = Changes(calibration_before=0.04, calibration_after=0.04, slowdown=1.0, growth=1.0, barred_rows=0)


def outcomes(only_before: int, only_after: int, both: int = 50):
    """Rows that both, only the champion, or only the challenger got right."""
    before = [True] * (both + only_before) + [False] * only_after
    after = [True] * both + [False] * only_before + [True] * only_after
    return compare_paired(np.array(before), np.array(after))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"calibration_after": 0.0901},
            "calibration: the error rose from 0.040 to 0.090, it may",
        ),
        ({"slowdown": 3.1}, "latency: 3.1 times slower, it may be 3 times"),
        ({"growth": 4.5}, "size: 4.5 times as large, it may be 4 times"),
        ({"barred_rows": 2}, "privacy: 2 rows of people who may not teach any more"),
        (
            {"members_found": 0.12, "most_found": 0.05},
            "membership: 12.0% of its rows are found at 1 % false, at most 5.0% may be",
        ),
    ],
)
def test_what_is_lost_beyond_its_limit_blocks(changes, words):
    (said,) = blocked_by(outcomes(1, 5), replace(SAME, **changes), ALPHA)
    assert words in said


def test_what_stays_within_its_limits_passes():
    borne = Changes(calibration_before=0.04, calibration_after=0.09, slowdown=3.0, growth=4.0, barred_rows=0)
    assert blocked_by(outcomes(2, 5), borne, ALPHA) == ()
    assert blocked_by(outcomes(0, 0), SAME, ALPHA) == ()
    assert blocked_by(outcomes(0, 0), replace(SAME, members_found=0.05, most_found=0.05), ALPHA) == ()


def test_only_a_challenger_that_is_shown_to_be_worse_is_blocked_by_quality():
    # 2^-5 = .031 is the chance that five rows out of five favour the champion, 2^-4 = .0625 that four do
    assert blocked_by(outcomes(4, 0), SAME, ALPHA) == ()
    (said,) = blocked_by(outcomes(5, 0), SAME, ALPHA)
    assert said == "quality: shown to be worse (p = 0.031)"


def test_every_gate_that_is_not_passed_is_named():
    found = blocked_by(outcomes(9, 0), replace(SAME, slowdown=9.0, growth=9.0), ALPHA)
    assert [said.split(":")[0] for said in found] == ["quality", "latency", "size"]
