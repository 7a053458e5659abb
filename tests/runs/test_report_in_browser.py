"""The report works in a real browser: no error, no request, exact values, usable on a phone and by keyboard."""

import csv
import shutil
import time

import pytest

from ddpkit.runs.report.writer import write_report
from tests.helpers.run_folders import write_run

CHROMIUM = shutil.which("chromium")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="the program chromium is not installed")]
EPOCHS = 300


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    names = ["<script>alert(1)</script>", "a class with a long name", *(f"class {number}" for number in range(20))]
    return write_report(write_run(tmp_path_factory.mktemp("reports") / 'it\'s a "run" #1', EPOCHS, names, n_layers=200))


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser, report):
    """Function that opens the report; afterwards, the page must have neither errors nor requests."""
    problems, contexts = [], []

    def open_it(width=1280, **options):
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(dialog.message))
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith("data:") or request.url == report.as_uri() else problems.append(request.url)
            ),
        )
        page.goto(report.as_uri())
        page.wait_for_selector(".plot canvas")
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert problems == []


def hover(page, title, part):
    """Move the mouse over a chart, at a part of its width; return the values that it shows, by label."""
    plot = chart(page, title).locator(".u-over")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    page.mouse.move(box["x"] + part * box["width"], box["y"] + box["height"] / 2)
    return shown_values(page, title)


def chart(page, title):
    return page.locator("figure.chart", has=page.get_by_role("heading", name=title, exact=True))


def shown_values(page, title):
    legend = chart(page, title).locator(".legend")
    keys = [key.inner_text().split() for key in legend.locator(".key").all()]
    return {"epoch": int(legend.locator(".x").inner_text().split()[1]), **dict(keys)}


def read_history(report):
    with report.with_name("history.csv").open() as file:
        return {int(row["epoch"]): row for row in csv.DictReader(file)}


def test_hover_shows_the_values_of_the_history(open_page, report):
    page, rows = open_page(), read_history(report)
    at_rest = shown_values(page, "loss")
    assert float(at_rest["valid"]) == float(f"{float(rows[EPOCHS]['valid/loss']):.6g}")

    for part in (0.02, 0.3, 0.71):
        shown = hover(page, "loss", part)
        row = rows[shown.pop("epoch")]
        for label, value in shown.items():
            cell = row[f"{label}/loss"]
            assert (float(value) == float(cell)) if cell else (value == "-")


def test_300_epochs_open_in_a_second(open_page):
    started = time.perf_counter()
    page = open_page()
    assert time.perf_counter() - started < 1
    assert page.locator("figure.chart canvas").count() == 5


def test_all_images_load(open_page):
    widths = open_page().eval_on_selector_all("img", "images => images.map((image) => image.naturalWidth)")

    assert len(widths) == 8
    assert all(widths)


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_the_page_has_no_horizontal_scroll(open_page, width):
    page = open_page(width)
    page.eval_on_selector_all("details", "all => all.forEach((each) => { each.open = true; })")

    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_messages_of_events_are_visible_on_a_phone(open_page):
    box = open_page(390).get_by_text("sample apple/broken.png is skipped").bounding_box()

    assert 0 <= box["x"] <= box["x"] + box["width"] <= 390


def test_zoom_by_mouse_and_by_buttons(open_page):
    page = open_page()
    box = chart(page, "loss").locator(".u-over").bounding_box()
    middle = box["y"] + box["height"] / 2

    def zoomed():
        return hover(page, "loss", 0.0)["epoch"], hover(page, "loss", 0.999)["epoch"]

    assert zoomed() == (1, EPOCHS)
    page.mouse.move(box["x"] + 0.25 * box["width"], middle)
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], middle, steps=5)
    page.mouse.up()
    low, high = zoomed()
    assert (abs(low - 75), abs(high - 150)) <= (3, 3)
    page.mouse.dblclick(box["x"] + 0.5 * box["width"], middle)
    assert zoomed() == (1, EPOCHS)

    page.get_by_label("zoom in: loss").click()
    assert zoomed() != (1, EPOCHS)
    page.get_by_label("logarithmic scale: loss").click()
    assert page.get_by_label("logarithmic scale: loss").get_attribute("aria-pressed") == "true"
    page.get_by_label("show all: loss").click()
    assert zoomed() == (1, EPOCHS)


def test_the_keyboard_reaches_the_values(open_page, report):
    page, rows = open_page(), read_history(report)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"

    chart(page, "accuracy").locator(".plot").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    shown = shown_values(page, "accuracy")
    assert (shown["epoch"], float(shown["valid"])) == (EPOCHS - 2, float(rows[EPOCHS - 2]["valid/accuracy"]))

    chart(page, "accuracy").locator("summary").press("Enter")
    table = chart(page, "accuracy").locator("table tbody tr")
    table.first.wait_for(state="attached")
    assert table.count() == EPOCHS
    assert float(table.nth(9).locator("td").first.inner_text()) == float(rows[10]["valid/accuracy"])


def test_dark_mode_changes_page_and_charts(open_page):
    page = open_page(color_scheme="dark")
    picture = "document.querySelector('.plot canvas').toDataURL()"
    background = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(picture), page.evaluate(background)

    page.locator(".theme").click()

    assert page.evaluate(background) != before[1]
    page.wait_for_function(f"(before) => {picture} !== before", arg=before[0])


def test_tables_can_be_sorted_and_matrices_show_shares(open_page):
    page = open_page()
    cells = page.locator("#classes table").first.locator("tbody tr td:nth-child(2)")
    page.locator("#classes table").first.get_by_role("button", name="accuracy").click()
    values = [float(text) for text in cells.all_inner_texts()]
    assert values == sorted(values)
    assert len({*values}) > 1

    page.get_by_label("Percent of the true class").check()
    shares = [float(text) for text in page.locator("table.matrix tbody tr").first.locator("td").all_inner_texts()]
    assert sum(shares) == pytest.approx(100, abs=1)


def test_the_page_can_be_printed(open_page):
    assert open_page(color_scheme="dark").pdf(format="A4").startswith(b"%PDF")
