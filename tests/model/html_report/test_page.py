import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from magnetar.findings import Finding
from magnetar.model.boot.boot import boot
from magnetar.model.boot.boot_report import BootReport, RoutedText
from magnetar.model.boot.boot_request import BootRequest
from magnetar.model.bundled import bundled_golden, bundled_release, smoke_text
from magnetar.model.checks.cures import Cure, Diagnosis
from magnetar.model.checks.levels import Level, conclude
from magnetar.model.compare.comparison import OtherCheckpoint
from magnetar.model.html_report.page import draw_page

HOSTILE = "<script>alert(1)</script>\x1b[2J\u202e"
VOID = ("meta", "polyline", "path")


@pytest.fixture(scope="module")
def report() -> BootReport:
    other = OtherCheckpoint(bundled_release())
    text = smoke_text().text[:2000]
    return boot(BootRequest(bundled_release(), text=text, golden=bundled_golden(), against=other, sample_tokens=4))


class Counting(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.depth: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append(tag)
        if tag not in VOID:
            self.depth.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.depth.pop() == tag


def read(page: str) -> Counting:
    parser = Counting()
    parser.feed(page)
    parser.close()
    return parser


def test_the_page_is_whole_and_says_the_verdict_first(report: BootReport) -> None:
    page = draw_page(report, "austen-moe")
    assert read(page).depth == []
    headings = re.findall(r"<h[123]>(.*?)</h", page)
    assert headings == [
        "austen-moe",
        "Levels",
        "Numbers",
        f"Against {bundled_release()}",
        "Residual stream after each layer",
        "Error against the release, by layer",
        "Load of the experts",
        "The text by expert",
        "Sample",
        "Where this comes from",
        "Assumptions",
    ]
    assert page.index("It works.") < page.index("<h2>Levels")
    assert len(re.findall(r"--share:\d+%", page)) == 4 * 8
    assert report.weights in page
    assert "consolidated.00.pth" in page


def test_every_piece_of_the_text_is_coloured_by_the_expert_that_weighed_most(report: BootReport) -> None:
    shown = RoutedText(("<s>", " It", "<0x0A>", " is"), (((1, 0), (2, 1), (1, 2), (0, 1)),))
    page = draw_page(replace(report, routed_text=shown), "a")
    pieces = re.findall(r'<span style="--hue:(\d+)" title="experts (\d), \d">(.*?)</span>', page, re.DOTALL)
    assert [(expert, words) for _, expert, words in pieces] == [
        ("1", "&lt;s&gt;"),
        ("2", " It"),
        ("1", "\u21b5\n"),
        ("0", " is"),
    ]
    assert len({hue for hue, _, _ in pieces}) == 3
    assert "</span><span" in page, "nothing stands between the pieces of a word"


def test_a_diagnosis_says_what_to_do_beside_the_verdict(report: BootReport) -> None:
    cure = Cure("theta 1e6", "set rope_theta", 1.2, 4.0)
    ill = replace(report, healthy=False, reasons=("it strays",), diagnosis=Diagnosis(cure, ("theta 1e6",)))
    page = draw_page(ill, "a")
    assert page.index("What to do: set rope_theta.") < page.index("<h2>Levels")
    page = draw_page(replace(ill, diagnosis=Diagnosis(None, ("theta 1e6", "w1"), cure)), "a")
    assert "helps most, and does not restore it" in page
    assert "None of them restores it: theta 1e6, w1." in page


def test_what_was_not_run_leaves_no_empty_figures(report: BootReport) -> None:
    bare = boot(BootRequest(bundled_release(), levels=[Level.STRUCTURE]))
    page = draw_page(bare, "a")
    assert read(page).depth == []
    assert "<svg" not in page
    assert "bits per byte" not in page


def test_the_page_runs_nothing_and_fetches_nothing(report: BootReport) -> None:
    page = draw_page(report, "austen-moe")
    assert not {"script", "link", "img", "iframe"} & set(read(page).opened)
    assert "http:" not in page
    assert "https:" not in page
    assert "default-src 'none'" in page


def test_foreign_text_is_shown_and_does_nothing(report: BootReport) -> None:
    level = conclude(Level.CONTENT, [Finding("nan", HOSTILE, HOSTILE)], HOSTILE)
    diagnosis = Diagnosis(Cure("theta <1>", "set it", 1.0, None), ("theta <1>",))
    assert report.agreement is not None
    odd = replace(
        report,
        healthy=False,
        sample=HOSTILE,
        levels=(level,),
        assumptions=(HOSTILE,),
        diagnosis=diagnosis,
        agreement=replace(report.agreement, other=HOSTILE, kind=HOSTILE),
        routed_text=RoutedText((HOSTILE,), (((0, 1),),)),
        files=(HOSTILE,),
        kind=HOSTILE,
    )
    page = draw_page(odd, HOSTILE)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "theta &lt;1&gt;" in page
    assert "\x1b" not in page
    assert "\u202e" not in page
