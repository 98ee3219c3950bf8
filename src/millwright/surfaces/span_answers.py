"""What the service answers where spans are to be found: by the places of the inputs as they came."""

from collections.abc import Iterable, Sequence

from millwright.modalities.places import Round
from millwright.modalities.spans import FoundSpans, as_it_came
from millwright.records import Prediction
from millwright.surfaces.messages import SpanAnswer, SpanPredictionAnswer, SpanPredictionsAnswer


def span_answers(
    records: Sequence[Prediction],
    answered: Iterable[FoundSpans],
    inputs: Sequence[str],
    edits: Sequence[Sequence[Round]],
) -> SpanPredictionsAnswer:
    """Answers to inputs.

    Args:
        records: the predictions as they are journalled.
        answered: what was found in the texts that the model read.
        inputs: the texts that came.
        edits: how each became what the model read.

    Returns:
        The message.
    """
    told = map(as_it_came, answered, edits)
    return SpanPredictionsAnswer(
        predictions=[
            SpanPredictionAnswer(
                id=record.id,
                spans=_spans(text, found),
                probability=record.probability,
                version=record.version,
                ask=record.ask,
            )
            for record, found, text in zip(records, told, inputs, strict=True)
        ]
    )


def _spans(text: str, found: FoundSpans) -> list[SpanAnswer]:
    return [
        SpanAnswer(
            start=span.start,
            end=span.end,
            label=span.label,
            probability=sure,
            text=text[span.start : span.end],
        )
        for span, sure in zip(found.spans, found.probabilities, strict=True)
    ]
