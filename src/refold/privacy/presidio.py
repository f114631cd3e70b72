"""Personal values in text by presidio, with the extra ``presidio``; nothing is downloaded.

presidio asks a language model for names and places, and fetches one where none is installed; its
recogniser of e-mail fetches a list of domains. Neither is done here: what has a form is found, by
presidio's own patterns, check digits and words nearby. Who has a model gives an analyzer of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from refold.extras import needs
from refold.privacy.detection import Confidence, Detected, Detector, apart

try:
    import spacy
    import tldextract
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry
    from presidio_analyzer.nlp_engine import SpacyNlpEngine
    from presidio_analyzer.predefined_recognizers import EmailRecognizer
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(needs("presidio is not installed", "presidio")) from error

_KINDS: Final = {
    "CREDIT_CARD": "card",
    "EMAIL_ADDRESS": "email",
    "IBAN_CODE": "iban",
    "PHONE_NUMBER": "phone",
    "US_SSN": "us_ssn",
}
"""What refold calls by another name; the others are called as there, in lower case."""
_HIGH, _MEDIUM = 0.75, 0.4


def presidio_detector(
    analyzer: AnalyzerEngine | None = None,
    *,
    language: str = "en",
    entities: Sequence[str] | None = None,
    least_score: float = 0.35,
) -> Detector:
    """What ``Detect(find=…)`` takes: a function that looks into a text by presidio.

    Without an ``analyzer`` one is made of presidio's recognisers of forms, on a blank engine: it
    finds no names. ``entities`` are presidio's names of what is looked for (None: all it knows).
    What presidio scores under ``least_score`` is not taken; from 0.75 on its confidence is high,
    from 0.4 on medium.
    """
    engine = analyzer or pattern_analyzer(language)
    wanted = None if entities is None else list(entities)

    def find(text: str) -> list[Detected]:
        results = engine.analyze(text, language, entities=wanted, score_threshold=least_score)
        results.sort(key=lambda one: (-one.score, one.start, -one.end))
        return apart([_detected(one.entity_type, one.start, one.end, one.score) for one in results])

    return find


def pattern_analyzer(language: str = "en") -> AnalyzerEngine:
    """An analyzer of what has a form: no model, no network."""
    engine = SpacyNlpEngine(models=[{"lang_code": language, "model_name": "blank"}])
    engine.nlp = {language: spacy.blank(language)}  # type: ignore[assignment]  # theirs says None
    registry = RecognizerRegistry(supported_languages=[language])
    registry.load_predefined_recognizers(languages=[language], nlp_engine=engine)
    for name in ("EmailRecognizer", "SpacyRecognizer"):
        registry.remove_recognizer(name)
    registry.add_recognizer(_OfflineEmail(supported_language=language))
    return AnalyzerEngine(registry=registry, nlp_engine=engine, supported_languages=[language])


class _OfflineEmail(EmailRecognizer):
    """presidio's, with the list of domains that came with the package."""

    domain = tldextract.TLDExtract(suffix_list_urls=(), cache_dir=None)

    def validate_result(self, pattern_text: str) -> bool:
        """Whether the domain ends as one can."""
        return bool(self.domain(pattern_text).top_domain_under_public_suffix)


def _detected(entity: str, start: int, end: int, score: float) -> Detected:
    confidence: Confidence = "high" if score >= _HIGH else "medium" if score >= _MEDIUM else "low"
    return Detected(
        _KINDS.get(entity, entity.lower()),
        start,
        end,
        confidence,
        f"presidio scores it {score:.2f}",
    )
