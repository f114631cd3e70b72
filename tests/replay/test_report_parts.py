"""The parts of the report that compute: word differences, figures as text, colours."""

from __future__ import annotations

import re
from decimal import Decimal
from importlib import resources
from typing import get_args

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.replay.actions import Level
from refold.replay.report.formatting import change, offset, signed
from refold.replay.report.links import Link, anchor
from refold.replay.report.render import environment, pieces, with_quotes
from refold.replay.report.text_diff import WORDS_MAX, WordRun, compare_lines, compare_words
from refold.replay.wording import milliseconds, money, percent

TEXTS = st.text(st.sampled_from("ab ,.\n"), max_size=60)


@given(TEXTS, TEXTS)
def test_the_runs_of_each_side_are_that_side(before: str, after: str) -> None:
    """Joined, they give the text back; what is nobody's own is on both sides alike."""
    olds, news = compare_words(before, after)
    assert "".join(run.text for run in olds) == before
    assert "".join(run.text for run in news) == after
    kept = [[run.text for run in runs if not run.is_own] for runs in (olds, news)]
    assert "".join(kept[0]) == "".join(kept[1])


def test_a_changed_word_is_the_only_one_marked() -> None:
    """Neighbours and white space stay as they are."""
    olds, news = compare_words("At gate 4 now.", "At gate five now.")
    assert [run.text for run in olds if run.is_own] == ["4"]
    assert [run.text for run in news if run.is_own] == ["five"]


def test_texts_with_little_in_common_are_marked_whole() -> None:
    """Marks on every other word would say nothing."""
    olds, news = compare_words("Where are you now?", "Nothing of that sort, thank you")
    assert [len(olds), len(news)] == [1, 1]
    assert olds[0].is_own
    assert 'class="whole"' in piece("marked", olds, "del")


def test_very_long_texts_are_not_aligned() -> None:
    """The work is bounded: beyond so many words, each side is marked whole."""
    long = "word " * WORDS_MAX
    olds, _ = compare_words(long, long + "more")
    assert olds == [WordRun(long, True)]


def test_marks_leave_white_space_alone() -> None:
    """A mark begins and ends at a word; white space alone has none."""
    assert WordRun("a ", False).marked == ("a ", "", "")
    assert WordRun(" b ", True).marked == (" ", "b", " ")
    assert WordRun(" ", True).marked == (" ", "", "")
    runs = [WordRun("a ", False), WordRun(" b ", True)]
    assert piece("marked", runs, "ins") == "a  <ins>b</ins> "


def test_lines_are_kept_taken_out_or_put_in() -> None:
    """Versions of a line stand side by side, others alone; far from a change they are left out."""
    same = "".join(f"line {n}\n" for n in range(9))
    lines = list(compare_lines(f"Be kind today.\nGone.\n{same}Bye.", f"Be kind now.\n{same}"))
    assert [(line.mark, line.text, line.runs is None, line.left_out) for line in lines] == [
        ("del", "Be kind today.", False, 0),
        ("ins", "Be kind now.", False, 0),
        ("del", "Gone.", True, 0),
        *(("", f"line {n}", True, 0) for n in range(3)),
        ("", "", True, 3),
        *(("", f"line {n}", True, 0) for n in range(6, 9)),
        ("del", "Bye.", True, 0),
    ]


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (None, "–"),
        (Decimal(0), "$0.00"),
        (Decimal("0.062061"), "$0.0621"),
        (Decimal("0.000111"), "$0.000111"),
        (Decimal("-0.5"), "−$0.500"),
        (Decimal("1234.567"), "$1,234.57"),
        (Decimal("1e-30"), "$0.000000000000"),
    ],
)
def test_money_keeps_what_matters(amount: Decimal | None, text: str) -> None:
    """Cents from a dollar on, three significant digits below."""
    assert money(amount) == text


def test_figures_are_told_with_their_unit() -> None:
    """Shares, times and differences as a reader expects them."""
    assert [percent(None), percent(0.7241), percent(1.0)] == ["–", "72.4 %", "100.0 %"]
    assert [milliseconds(v) for v in (0.04, 2.14, 640.2, 12_400)] == [
        "0.0 ms",
        "2.1 ms",
        "640 ms",
        "12.4 s",
    ]
    assert [offset(42_000_000), offset(3_729_000_000)] == ["0:42", "1:02:09"]
    assert [change(2.0, 1.5), change(1.0, 2.0), change(0, 1.0), change(None, 1.0)] == [
        "−25 %",
        "+100 %",
        "",
        "",
    ]
    assert [signed("2 ms"), signed("−2 ms"), signed("–")] == ["+2 ms", "−2 ms", "–"]


HOSTILE = "<b>&\"'\x00"
ESCAPED = "&lt;b&gt;&amp;&#34;&#39;"


def piece(name: str, *values: object, **options: object) -> str:
    """What a macro of the templates writes."""
    module = environment().get_template("pieces.html").module
    return str(getattr(module, name)(*values, **options))


def test_text_is_escaped_in_text_and_in_attributes() -> None:
    """Only what a template says goes in as it is."""
    assert piece("link_to", Link(HOSTILE, anchor(HOSTILE))) == (
        f'<a href="#%3Cb%3E%26%22%27%EF%BF%BD" class="id">{ESCAPED}\x00</a>'
    )
    assert piece("link_to", Link(HOSTILE, None)) == f"<code>{ESCAPED}\x00</code>"
    labelled = f'aria-label="2 {ESCAPED}\x00"><title>2 {ESCAPED}\x00</title>'
    assert labelled in piece("small_bar", {HOSTILE: 2, "same": 0})


def test_quotes_stand_for_themselves_only_in_text() -> None:
    """A page keeps them escaped in attributes, and holds nothing that is no character in HTML."""
    page = "".join(pieces("page.html", title=HOSTILE))
    assert "<title>&lt;b&gt;&amp;\"'\ufffd</title>" in page
    assert "&#34;" not in page
    escaped = '<i title="&gt;&#34;&#39;">&#34;&#39;&lt;</i>'
    assert with_quotes(escaped) == """<i title="&gt;&#34;&#39;">"'&lt;</i>"""


def test_only_the_files_of_the_package_are_not_escaped() -> None:
    """No template calls anything safe but the style and the script, and none turns escaping off."""
    folder = resources.files("refold.replay.report").joinpath("templates")
    source = "".join(file.read_text(encoding="utf-8") for file in folder.iterdir())
    assert re.findall(r"\w+ *\| *safe", source) == ["style | safe", "script | safe"]
    assert "autoescape" not in source


def test_a_value_that_is_missing_stops_the_page() -> None:
    """A name that nobody gave is an error, not an empty place."""
    with pytest.raises(jinja2.UndefinedError, match="title"):
        list(pieces("page.html"))


def test_line_breaks_of_a_template_are_not_in_the_page() -> None:
    """Nothing beside tags and expressions, and a space between words."""
    made = environment().from_string("<p>\n  one\n  two {{ x }}\n  <b>\n three </b>\n</p>\n")
    assert made.render(x="&\n") == "<p>one two &amp;\n<b>three </b></p>"


def test_an_anchor_holds_nothing_that_ends_an_attribute_or_a_fragment() -> None:
    """Names with spaces, quotes and signs become one word; event ids stay readable."""
    assert anchor("call-7~b@12") == "call-7~b@12"
    assert re.fullmatch(r"[\w%@~:.-]+", anchor('a b"<#>&ü\ud800'))


# -- colours --------------------------------------------------------------------------------------


def schemes() -> list[dict[str, str]]:
    """The colours of the light and the dark scheme, by name."""
    css = resources.files("refold.replay.report").joinpath("report.css").read_text()
    light, dark = re.findall(r":root \{(.*?)\n\s*\}", css, re.DOTALL)[:2]
    found = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block)) for block in (light, dark)]
    assert found[0].keys() == found[1].keys()
    return found


def contrast(first: str, second: str) -> float:
    """The contrast ratio of two colours (WCAG 2.2, 1.4.3)."""
    bright, dim = sorted((luminance(first), luminance(second)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def luminance(colour: str) -> float:
    """Relative luminance (WCAG 2.2)."""
    shares = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


LEVELS = ("same", "words", "arguments", "tools", "broken", "failed", "missing")
PAIRS = [
    *((ink, paper) for ink in ("ink", "quiet", "accent") for paper in ("paper", "sheet")),
    *((f"{level}-ink", f"{level}-tint") for level in LEVELS),
    ("ins-ink", "ins"),
    ("del-ink", "del"),
    ("quiet", "tools-tint"),
    ("arguments-ink", "paper"),
]


@pytest.mark.parametrize("level", get_args(Level))
def test_every_level_has_a_colour_of_its_own(level: str) -> None:
    """As a badge and as part of a bar: what is broken was grey, as if it were nothing."""
    css = resources.files("refold.replay.report").joinpath("report.css").read_text()
    for place, colour in (("badge", "background"), ("bar", "fill")):
        assert re.search(rf"\.{place}[ :.][^{{]*\.{level}\b[^{{]*\{{ {colour}", css) or re.search(
            rf"\.{place}[ .]{{0,2}}{level} \{{ {colour}", css
        )


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "paper"), PAIRS)
def test_text_stands_out_from_its_background(ink: str, paper: str, scheme: int) -> None:
    """Every pair of colours that text is set in has a contrast of at least 4.5 to 1."""
    colours = schemes()[scheme]
    assert contrast(colours[ink], colours[paper]) >= 4.5
