"""The page in a real browser, at the width of a phone and of a desk. Skipped where there is none."""

import json
import re
import shutil
import subprocess
import zlib
from dataclasses import replace
from html import escape, unescape
from pathlib import Path

import pytest

from magnetar.findings import Finding
from magnetar.model.boot.boot import boot
from magnetar.model.boot.boot_report import BootReport
from magnetar.model.boot.boot_request import BootRequest
from magnetar.model.bundled import bundled_golden, bundled_release, smoke_text
from magnetar.model.checks.levels import Level, conclude
from magnetar.model.compare.comparison import OtherCheckpoint
from magnetar.model.html_report.page import draw_page
from tests.patience import PATIENCE

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium: apt-get install chromium")

PHONE, DESK = 390, 1280
SCHEMES = {"dark": 0, "light": 1}
PAPERS = {"dark": (21, 23, 26), "light": (255, 255, 255)}
MEASURE = """<script>
function countLines(one) {
  const range = document.createRange();
  range.selectNodeContents(one);
  return new Set([...range.getClientRects()].map(place => Math.round(place.top / 8))).size;
}
const wide = [...document.querySelectorAll("main *")].filter(one => !one.closest(".wide *, details:not([open]) > p"));
const seen = wide.filter(one => one.getBoundingClientRect().width > 0);
parent.document.title = JSON.stringify({
  width: innerWidth, page: document.documentElement.scrollWidth,
  over: seen.filter(one => one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 80)),
  broken: seen.filter(one => !one.children.length && one.closest("th, td, dt, dd")
    && /^\\S{2,14}$/.test(one.textContent.trim()) && countLines(one) > 1).map(one => one.outerHTML.slice(0, 80)),
  small: Math.min(...seen.map(one => parseFloat(getComputedStyle(one).fontSize))),
});
</script>"""


def browse(page: Path, width: int, *words: str) -> str:
    """Run the browser on a page of our own; what it prints."""
    assert BROWSER is not None
    height = 4000
    command = [
        *(BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
        *("--no-first-run", "--disable-extensions", f"--user-data-dir={page.parent / 'profile'}"),
        *(f"--window-size={width},{height}", *words, page.as_uri()),
    ]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE).stdout


def first_pixel(image: bytes) -> tuple[int, ...]:
    """The colour of the upper left corner of a PNG, which no filter of the format changes; and that it is one."""
    assert image.startswith(b"\x89PNG\r\n\x1a\n")
    position, packed = 8, b""
    while position < len(image):
        length = int.from_bytes(image[position : position + 4], "big")
        if image[position + 4 : position + 8] == b"IDAT":
            packed += image[position + 8 : position + 8 + length]
        position += 12 + length
    return tuple(zlib.decompress(packed)[1:4])


@pytest.fixture(scope="module")
def report() -> BootReport:
    text, other = smoke_text().text[:2000], OtherCheckpoint(bundled_release())
    return boot(BootRequest(bundled_release(), text=text, golden=bundled_golden(), against=other, sample_tokens=16))


@pytest.mark.parametrize(("width", "scheme"), [(DESK, "light"), (PHONE, "dark")])
def test_the_page_is_drawn_in_light_and_dark(width: int, scheme: str, report: BootReport, tmp_path: Path) -> None:
    page, picture = tmp_path / "page.html", tmp_path / "page.png"
    page.write_text(draw_page(report, "austen-moe"))
    browse(page, width, f"--screenshot={picture}", f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}")
    image = picture.read_bytes()
    assert int.from_bytes(image[16:20], "big") == width
    assert first_pixel(image) == PAPERS[scheme]
    assert len(image) > 100_000, "a page of figures and text takes more than this"


def make_extreme(report: BootReport) -> BootReport:
    """Names without a place to break, sixty layers of a hundred experts, and every kind of finding."""
    long = "layers.2.feed_forward.experts." * 9
    level = conclude(Level.CONTENT, [Finding("nan", long, "x" * 200) for _ in range(60)], long)
    load = tuple(tuple(1 / 100 for _ in range(100)) for _ in range(60))
    return replace(
        report,
        healthy=False,
        reasons=(long,) * 3,
        levels=(*report.levels, level),
        expert_load=load,
        residual_rms=(1.0,) * 60,
        files=(long,),
        assumptions=(long,),
        sample="y" * 500,
    )


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("kind", ["usual", "extreme"])
def test_nothing_runs_out_of_the_page_or_is_squeezed(kind: str, width: int, report: BootReport, tmp_path: Path) -> None:
    shown = report if kind == "usual" else make_extreme(report)
    page = tmp_path / "page.html"
    drawn = draw_page(shown, "austen-moe" if kind == "usual" else "n" * 200)
    without_policy = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", drawn)
    measured = escape(without_policy.replace("</body>", f"{MEASURE}</body>"))
    # a window is never narrower than 500; a frame is
    frame = f'<iframe style="border:0" width={width} height=4000 srcdoc="{measured}"></iframe>'
    page.write_text(f"<!doctype html><head><title></title></head><body>{frame}")
    title = re.search(r"<title>(.*?)</title>", browse(page, DESK, "--dump-dom"))
    assert title is not None
    found = json.loads(unescape(title[1]))
    assert found["width"] == width
    assert found["page"] <= width
    assert found["over"] == []
    assert found["broken"] == []
    assert found["small"] >= 12
