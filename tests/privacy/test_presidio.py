"""presidio, the real one, as what looks into texts: without a model and without the network."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import NoReturn

import pytest
from presidio_analyzer import Pattern, PatternRecognizer

from refold.privacy.detecting import Detect, looked_into
from refold.privacy.detection import Detector
from refold.privacy.presidio import pattern_analyzer, presidio_detector

TEXT = (
    "Card 4111 1111 1111 1111, IBAN DE89 3704 0044 0532 0130 00, mail ann@example.com, "
    "SSN 536-90-4399"
)


@pytest.fixture(scope="module")
def detector() -> Iterator[Detector]:
    """Made and used while nothing can be looked up or connected to."""

    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("the network was asked")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", refuse)
        patch.setattr(socket.socket, "connect", refuse)
        yield presidio_detector()


def test_what_has_a_form_is_found(detector: Detector) -> None:
    """Under the kinds that refold has for it; in order, nothing twice."""
    found = detector(TEXT)
    assert [(one.kind, TEXT[one.start : one.end]) for one in found] == [
        ("card", "4111 1111 1111 1111"),
        ("iban", "DE89 3704 0044 0532 0130 00"),
        ("email", "ann@example.com"),
        ("us_ssn", "536-90-4399"),
    ]
    assert [one.confidence for one in found][:3] == ["high"] * 3
    assert found[0].why == "presidio scores it 1.00"


def test_it_takes_the_place_of_the_detector_that_is_built_in(detector: Detector) -> None:
    """As Detect(find=…)."""
    looked = looked_into(json.dumps({"text": TEXT}).encode(), Detect(do="redact", find=detector))
    assert json.loads(looked.payload) == {
        "text": "Card [card], IBAN [iban], mail [email], SSN [us_ssn]"
    }
    assert looked.counts == {"card": 1, "iban": 1, "email": 1, "us_ssn": 1}


def test_nothing_is_found_where_nothing_is(detector: Detector) -> None:
    """What presidio scores next to nothing is not taken."""
    assert detector("Order 12345 of 3 pieces, please. Room B2.") == []


def test_only_what_is_asked_for_is_looked_for() -> None:
    """By presidio's own names."""
    find = presidio_detector(entities=["EMAIL_ADDRESS"])
    assert [one.kind for one in find(TEXT)] == ["email"]


def test_an_analyzer_of_ones_own_is_used() -> None:
    """With recognisers, models and languages that refold knows nothing of."""
    analyzer = pattern_analyzer()
    analyzer.registry.add_recognizer(
        PatternRecognizer("PATIENT_ID", patterns=[Pattern("p", r"\bP-\d{4}\b", 0.9)])
    )
    (found,) = presidio_detector(analyzer, entities=["PATIENT_ID"])("file P-0042")
    assert (found.kind, found.start, found.end, found.confidence) == ("patient_id", 5, 11, "high")
