"""Our detector as a recogniser of Presidio, for those who run its analyzer: an adapter, loaded on demand."""

from collections.abc import Iterable
from typing import Any

from millwright.errors import MissingExtra
from millwright.privacy.detect import detector
from millwright.privacy.entities import ENTITIES


def _presidio() -> Any:
    """The module presidio_analyzer; MissingExtra with the pip line where it is not installed."""
    try:
        import presidio_analyzer
    except ImportError:
        raise MissingExtra("Presidio is not installed; run: pip install presidio-analyzer") from None
    return presidio_analyzer


def presidio_recognizer(language: str = "en", entities: Iterable[str] = tuple(ENTITIES)) -> Any:
    """A recogniser to add to a registry of Presidio.

    Args:
        language: the language for which Presidio asks it; it reads English and Chinese whatever this says.
        entities: names of ENTITIES.

    Returns:
        An EntityRecognizer whose results are the spans of `detector`, scores included.

    Raises:
        MissingExtra: Presidio is not installed.
        NotFound: an entity is not known.
    """
    presidio = _presidio()
    base: Any = presidio.EntityRecognizer
    known = sorted(detector(frozenset(entities)).entities)

    class Recognizer(base):  # type: ignore[misc]  # a class of an optional package
        """Finds what Millwright finds."""

        def load(self) -> None:
            """Nothing: the tagger is read at first use."""

        def analyze(self, text: str, entities: list[str], nlp_artifacts: object) -> list[Any]:
            """Spans of the entities that are asked for and known."""
            wanted = frozenset(entities) & frozenset(known)
            return [
                presidio.RecognizerResult(span.entity, span.start, span.end, span.score)
                for span in detector(wanted).find(text)
            ]

    return Recognizer(supported_entities=known, supported_language=language, name="Millwright")


def presidio_analyzer(languages: Iterable[str] = ("en", "zh")) -> Any:
    """An AnalyzerEngine of Presidio with our recogniser alone, over blank pipelines: no model is needed.

    Args:
        languages: codes of spaCy's languages.

    Returns:
        The engine.

    Raises:
        MissingExtra: Presidio is not installed.
    """
    presidio = _presidio()
    import spacy
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    codes = list(languages)
    engine = SpacyNlpEngine(models=[{"lang_code": code, "model_name": "blank"} for code in codes])
    engine.nlp = {code: spacy.blank(code) for code in codes}
    registry = presidio.RecognizerRegistry(
        recognizers=[presidio_recognizer(code) for code in codes], supported_languages=codes
    )
    return presidio.AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=codes)
