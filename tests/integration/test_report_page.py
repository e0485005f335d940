"""The page in a browser: it renders, plays, reads without its script, reaches nothing and fits."""

import os
import shutil
import sys
from pathlib import Path

import axe_playwright_python
import numpy as np
import pytest
import soundfile
from playwright.sync_api import sync_playwright

from pytest_voiceloop.measure.turn import Words
from pytest_voiceloop.report import html
from pytest_voiceloop.report.waveform import files_in

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "report"))
from report_documents import budget, document, hostile_turn, one_test, turn
from whole_document import COMPARISON

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SIZES = [(360, 740), (768, 900), (1000, 900), (1440, 900)]
REQUIRED = bool(os.environ.get("VOICELOOP_REQUIRE_BROWSER"))
"""Whether these tests fail where there is no browser, instead of being skipped."""
DEADLINE_MS = 20_000


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        (pytest.fail if REQUIRED else pytest.skip)("no Chromium: make browser")
    with sync_playwright() as started:
        flags = ["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        found = started.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield found
        found.close()


def write_voice(path, duration_s, rate_hz):
    """Swelling noise between two silences of a tenth of a second."""
    seconds = np.arange(round((duration_s - 0.2) * rate_hz)) / rate_hz
    noise = np.random.default_rng(5).normal(0, 0.1, len(seconds)) * (0.6 - 0.5 * np.cos(2 * np.pi * 4 * seconds))
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, np.pad(noise, rate_hz // 10), rate_hz, subtype="PCM_16")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("results")
    write_voice(place / "audio" / "151-0 caller.wav", 1.2, 16_000)
    write_voice(place / "audio" / "151-0 reply.wav", 1.0, 8_000)
    return place


def failing():
    wrong = Words("a canoe slides on planks", 1, 6, 5, 29)
    failed = one_test(
        turn(slower_ms=300, heard=wrong, flags=("split",)),
        turn("late", us={"t2_first": 300_000, "t2_last": 420_000}),
        turn("silent", missing=("t3_first", "t3_last", "t4_first", "t4_last", "t5")),
        outcome="failed",
        budgets=[budget(), budget(metric="tts", limit_ms=300.0)],
        message="total is over its limit",
        sections=[{"title": "kokoro: last lines", "text": "one\ntwo"}],
    )
    return document(
        one_test(turn(), nodeid="tests/test_it.py::fine"), failed, one_test(hostile_turn(), nodeid="t::hostile")
    )


@pytest.fixture(scope="module")
def address(folder):
    place = folder / "report.html"
    place.write_text(html.page(failing(), read_audio=files_in(folder)), encoding="utf-8", errors="backslashreplace")
    return place.as_uri()


@pytest.fixture
def visit(browser):
    """Open an address; every message of the console, error and request since is in the page's `said`."""
    contexts = []

    def opened(address, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(DEADLINE_MS)
        page.said, page.asked = [], []
        page.on("console", lambda message: page.said.append(message.text))
        page.on("pageerror", lambda error: page.said.append(str(error)))
        page.on("dialog", lambda dialog: (page.said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(address)
        return page

    yield opened
    for context in contexts:
        context.close()


def until(page, condition):
    """Wait for it, frame by frame. Playwright's own way needs eval, which the page's policy forbids."""
    page.evaluate(
        f"""() => new Promise((met, failed) => {{
            setTimeout(() => failed(new Error({condition!r})), {DEADLINE_MS});
            const look = () => ({condition}) ? met() : requestAnimationFrame(look);
            look();
        }})"""
    )


def test_the_page_renders_silently_and_asks_nobody(visit, address):
    page = visit(address)
    page.wait_for_load_state("networkidle")
    assert page.title() == "voiceloop: 1 test failed, 2 budgets missed, 4 of 5 turns completed, 1 timeout"
    assert page.said == []
    assert [url for url in page.asked if not url.startswith(("file:", "data:"))] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_nothing_overflows(visit, address, size, scheme):
    page = visit(address, viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    beyond = page.evaluate(
        """[...document.querySelectorAll('body *')].filter((one) => !one.closest('.scroll, .lane, .skip, .vh, pre, svg')
        && one.getBoundingClientRect().right > innerWidth + 1).map((one) => one.outerHTML.slice(0, 90))"""
    )
    assert beyond == []


@pytest.mark.parametrize("width", [360, 768, 1000, 1440])
def test_the_tables_that_are_read_first_are_seen_whole(visit, folder, width):
    row = COMPARISON["rows"][0] | {
        "metric": "first_audio_transfer",
        "note": "more turns would tell it: " + "words " * 20,
    }
    place = folder / "compared.html"
    compared = failing() | {"comparisons": [COMPARISON | {"rows": [row]}]}
    place.write_text(html.page(compared), encoding="utf-8", errors="backslashreplace")
    page = visit(place.as_uri(), viewport={"width": width, "height": 900})
    first = ["Budgets", "Tests and the medians of their stages", *(["Before and after"] if width >= 1000 else [])]
    for label in first:
        table = page.locator(f".scroll[aria-label^='{label}']")
        assert table.evaluate("one => one.scrollWidth <= one.clientWidth"), label


def test_on_paper_nothing_is_cut_off(visit, address):
    a4_px = 718
    page = visit(address, viewport={"width": a4_px, "height": 1000})
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= a4_px
    cut = page.evaluate(
        "[...document.querySelectorAll('.scroll')].filter((one) => one.scrollWidth > one.clientWidth + 1).length"
    )
    assert cut == 0
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_the_call_plays_and_the_cursor_moves(visit, address):
    page = visit(address)
    call = page.locator("#turn-2 .call")
    call.get_by_role("button", name="Play the call").click()
    for side in ("caller", "reply"):
        until(page, f"document.querySelector('#turn-2 audio[data-side={side}]').currentTime > 0.2")
    cursor = float(call.evaluate("one => parseFloat(one.style.getPropertyValue('--cursor'))"))
    until(page, f"parseFloat(document.querySelector('#turn-2 .call').style.getPropertyValue('--cursor')) > {cursor}")
    until(page, "!document.querySelector('#turn-2 button[aria-pressed=true]')")
    assert page.said == []


def test_it_plays_from_where_one_clicks(visit, address):
    page = visit(address)
    wave = page.locator("#turn-2 [data-side=reply] .wave")
    wave.scroll_into_view_if_needed()
    box = wave.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    until(page, "document.querySelector('#turn-2 audio[data-side=reply]').currentTime > 0.45")
    caller_s = page.evaluate("document.querySelector('#turn-2 audio[data-side=caller]').currentTime")
    assert caller_s == 0


def test_it_plays_by_keyboard(visit, address):
    page = visit(address)
    page.locator("#turn-2").get_by_role("button", name="Reply").focus()
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#turn-2 audio[data-side=reply]').currentTime > 0.1")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#turn-2 audio[data-side=reply]').paused")
    page.locator("#turn-2 input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    assert "ms after T0" in page.locator("#turn-2 input[type=range]").get_attribute("aria-valuetext")


def test_what_is_to_be_looked_at_first_can_be_heard_there(visit, address):
    page = visit(address)
    button = page.locator(".look button[data-turn='2']").first
    button.click()
    until(page, "document.querySelector('#turn-2 audio[data-side=reply]').currentTime > 0.1")
    assert button.inner_text().startswith("⏸")
    button.click()
    until(page, "document.querySelector('#turn-2 audio[data-side=reply]').paused")
    assert button.inner_text().startswith("▶")


def test_it_reads_without_its_script(visit, address):
    page = visit(address, java_script_enabled=False)
    text = page.inner_text("main")
    for words in ("Look here first", "Over budget", "lost “well”", "kokoro: last lines", "Complete ledger"):
        assert words in text
    assert page.locator("#turn-2 audio[controls]").first.is_visible()
    assert page.locator("#turn-2 svg.wave").count() == 2
    assert not page.get_by_role("button", name="Play the call").first.is_visible()
    page.locator("#turn-2 .zoom").check()
    assert page.locator("#turn-2 .near .tick").first.is_visible()


def test_hostile_words_do_nothing(visit, address):
    page = visit(address)
    assert page.locator("img").count() == 0
    assert "</script><img src=x onerror=alert(1)>" in page.inner_text("main")
    assert page.said == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit, address, scheme):
    page = visit(address, color_scheme=scheme)
    (source,) = Path(axe_playwright_python.__file__).parent.rglob("axe.min.js")
    page.evaluate(source.read_text(encoding="utf-8"))
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    found = page.evaluate("axe.run()")["violations"]
    serious = [one for one in found if one["impact"] in ("serious", "critical")]
    assert [(one["id"], [node["html"][:120] for node in one["nodes"][:3]]) for one in serious] == []


def test_500_turns_open_in_two_seconds(visit, folder):
    place = folder / "many.html"
    many = [
        one_test(*[turn(f"u{n}", slower_ms=n) for n in range(k, k + 10)], nodeid=f"t::{k}") for k in range(0, 500, 10)
    ]
    place.write_text(html.page(document(*many), read_audio=files_in(folder)), encoding="utf-8")
    page = visit("about:blank")
    metrics = page.context.new_cdp_session(page)
    metrics.send("Performance.enable")
    page.goto(place.as_uri())
    # The processor's time: the clock's would be that of whatever else runs on this machine too.
    found = {one["name"]: one["value"] for one in metrics.send("Performance.getMetrics")["metrics"]}
    assert 0 < found["ProcessTime"] < 2
    assert place.stat().st_size < 2 * html.EMBEDDED_BYTES
