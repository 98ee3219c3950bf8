"""The detector inside Presidio's analyzer."""

import builtins

import pytest

from millwright.errors import MissingExtra
from millwright.privacy.detect import detector
from millwright.privacy.presidio import presidio_analyzer, presidio_recognizer
from tests.privacy.test_detect import SAID


def test_presidio_finds_the_same_spans_as_the_scan():
    pytest.importorskip("presidio_analyzer")
    engine = presidio_analyzer()
    for _, said, value in SAID:
        text = f"{said.format(value)}. My name is John Smith, 我叫王小明。"
        expected = {(span.entity, span.start, span.end, span.score) for span in detector().find(text)}
        for language in ("en", "zh"):
            results = engine.analyze(text, language=language)
            assert {(item.entity_type, item.start, item.end, item.score) for item in results} == expected


def test_presidio_may_ask_for_some_entities_only():
    pytest.importorskip("presidio_analyzer")
    (result,) = presidio_analyzer(["en"]).analyze(
        "John Smith, js@example.com", language="en", entities=["EMAIL_ADDRESS"]
    )
    assert (result.start, result.end) == (12, 26)


def test_says_what_to_install_where_presidio_is_missing(monkeypatch):
    real = builtins.__import__

    def without_presidio(name, *rest):
        if name.startswith("presidio"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_presidio)
    with pytest.raises(MissingExtra, match=r"pip install presidio-analyzer"):
        presidio_recognizer()
