import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from magnetar.model.bundled import bundled_golden, bundled_release, smoke_text
from magnetar.model.levels import Finding, Level, judge
from magnetar.model.page import draw_page
from magnetar.model.report import BootReport, Cure, Diagnosis
from magnetar.model.smoke import boot

HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e"


@pytest.fixture(scope="module")
def report() -> BootReport:
    return boot(bundled_release(), text=smoke_text().text[:2000], golden=bundled_golden(), greedy_tokens=4)


class Counting(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.depth: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append(tag)
        if tag not in ("meta", "polyline"):
            self.depth.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "polyline":
            assert self.depth.pop() == tag


def read(page: str) -> Counting:
    parser = Counting()
    parser.feed(page)
    parser.close()
    return parser


def test_the_page_is_whole_and_says_the_verdict_first(report: BootReport) -> None:
    page = draw_page(report, "austen-moe")
    parsed = read(page)
    assert parsed.depth == []
    assert page.index("It works.") < page.index("<h2>Levels")
    assert parsed.opened.count("span") == len(report.conducted.pieces if report.conducted else ())
    assert parsed.opened.count("svg") >= 1  # the errors against the release are all 0 on some machines
    assert len(re.findall(r"--share:\d+%", page)) == 4 * 8


def test_the_page_runs_nothing_and_fetches_nothing(report: BootReport) -> None:
    page = draw_page(report, "austen-moe")
    assert not {"script", "link", "img", "iframe"} & set(read(page).opened)
    assert "http:" not in page
    assert "https:" not in page
    assert "default-src 'none'" in page


def test_foreign_text_is_shown_and_does_nothing(report: BootReport) -> None:
    level = judge(Level.CONTENT, [Finding("nan", HOSTILE, HOSTILE)], HOSTILE)
    diagnosis = Diagnosis(Cure("theta <1>", "set it", 1.0, None), ("theta <1>",))
    odd = replace(report, healthy=False, sample=HOSTILE, levels=(level,), assumptions=(HOSTILE,), diagnosis=diagnosis)
    page = draw_page(odd, HOSTILE)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "theta &lt;1&gt;" in page
    assert "\x1b" not in page
    assert "\u202e" not in page
