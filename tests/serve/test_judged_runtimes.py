"""Who may serve: answers that are made up row by row, so that each bound is met exactly."""

import numpy as np
import pytest
import torch

from millwright.serve.runtime_record import Candidate
from millwright.serve.runtimes import _Judge, _judged
from millwright.serve.torch_body import torch_runtime
from millwright.settings import TrainSection
from millwright.train.classifier import Classifier

LABELS = ("card", "pin", "transfer")
HEAD = {"head.weight": torch.eye(3), "head.bias": torch.zeros(3)}
FIRST_LABELLED = Classifier(LABELS, "head", None, TrainSection(), 1.0, torch.float32, HEAD, None)


class Saying:
    """A body whose features say what is wanted: of each text, which is a number, that label."""

    streams = 1

    def __init__(self, said: list[int]) -> None:
        self.said_N = np.array(said)

    def features(self, texts: list[str]) -> np.ndarray:
        return np.eye(3, dtype=np.float32)[self.said_N[[int(text) for text in texts]]]


def judged(said: list[int], exact: list[int], truth: list[int]) -> Candidate:
    """What becomes of a candidate that says this of texts, the first of which are labelled `truth`."""
    judge = _Judge(tuple(map(str, range(len(exact)))), np.array(exact), np.array(truth, int))
    return _judged(Candidate("made-up", 1.0), Saying(said), FIRST_LABELLED, judge)


@pytest.mark.parametrize(
    ("rows", "wrong", "may_serve"), [(200, 1, True), (200, 2, False), (500, 2, True), (500, 3, False)]
)
def test_one_row_in_two_hundred_may_differ_and_no_more(rows, wrong, may_serve):
    found = judged([1] * wrong + [0] * (rows - wrong), [0] * rows, [])
    assert (found.refused is None) == may_serve
    assert found.agreement == (rows - wrong) / rows
    assert found.accuracy is None


def test_the_refusal_says_how_many_agree_and_how_many_are_needed():
    assert judged([1, 1, 0, 0], [0] * 4, []).refused == (
        "agrees with float32 on 50.00% of rows, 99.5 % are needed"
    )


@pytest.mark.parametrize(
    ("lost", "won", "refused"),
    [
        (4, 0, None),  # of 4 coins all fall so with a chance of 1/16
        (5, 0, "is right on 5 validation rows fewer than float32, 0 more"),  # 1/32
        (5, 1, None),  # 7/64
        (7, 1, "is right on 7 validation rows fewer than float32, 1 more"),  # 9/256
        (0, 7, None),
    ],
)
def test_who_agrees_is_refused_where_validation_rows_are_lost_beyond_noise(lost, won, refused):
    rows, held = 1_600, 500
    exact = [0] * rows
    said = [1] * (lost + won) + [0] * (rows - lost - won)
    truth = [0] * lost + [1] * won + [0] * (held - lost - won)
    found = judged(said, exact, truth)
    assert found.agreement >= 0.995
    assert found.accuracy == (held - lost) / held
    assert found.refused == refused


def test_the_texts_that_are_no_validation_rows_have_no_part_in_accuracy():
    rows, held = 2_000, 500
    found = judged([0] * (rows - 5) + [1] * 5, [0] * rows, [0] * held)
    assert (found.accuracy, found.refused) == (1.0, None)


@pytest.mark.parametrize(
    ("chosen", "on", "runs"),
    [
        ("torch-bfloat16", "cuda", "torch-bfloat16"),
        ("torch-bfloat16", "cuda:1", "torch-bfloat16"),
        ("torch-bfloat16", "cpu", "torch"),
        ("torch", "cuda", "torch"),
        ("torch", "cpu", "torch"),
        ("openvino-int8", "cuda", "torch"),
    ],
)
def test_pytorch_runs_in_bfloat16_where_that_was_chosen_and_a_gpu_runs_it(chosen, on, runs):
    assert torch_runtime(chosen, torch.device(on)) == runs
