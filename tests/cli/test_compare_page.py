"""`ddpkit compare --html` writes one page with the curves of all runs, and never replaces another file."""

import json
import re

import pytest

from ddpkit.cli.main import main
from tests.helpers.small_runs import write_small_run

CHART = re.compile(r'<script type="application/json">(.*?)</script>', re.DOTALL)


def write_page(capsys, page, *runs):
    assert main(["compare", *map(str, runs), "--html", str(page)]) == 0
    assert capsys.readouterr().out.endswith(f"\n{page}\n")
    return page.read_text()


def test_each_column_has_a_chart_with_the_curves_of_all_runs(tmp_path, capsys):
    a = write_small_run(tmp_path / "pets/a", losses=(0.5, 0.25, 0.75))
    b = write_small_run(tmp_path / "pets/b", {"seed": 1}, losses=(0.5, 0.125))

    page = write_page(capsys, tmp_path / "page.html", a, b)

    charts = {chart["title"]: chart for chart in map(json.loads, CHART.findall(page))}
    assert list(charts) == ["train/loss", "valid/loss", "valid/accuracy", "seconds"]
    assert charts["valid/loss"]["x"] == [1, 2, 3]
    curves = {series["label"]: series["values"] for series in charts["valid/loss"]["series"]}
    assert curves == {"a (seed 0)": [0.5, 0.25, 0.75], "b (seed 1)": [0.5, 0.125, None]}
    assert ">seed</th>" in page
    assert ">0.1250*</td>" in page


def test_names_and_values_are_shown_as_text(tmp_path, capsys):
    attack = "<script>alert('1')<script>&\"\u202e"
    a = write_small_run(tmp_path / "pets" / attack, {"classes": [f"</script>{attack}"]})
    b = write_small_run(tmp_path / "pets/b")

    page = write_page(capsys, tmp_path / "page.html", a, b)

    assert "alert('1')" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;alert(&#39;1&#39;)" in page
    assert json.loads(CHART.search(page)[1])["series"][0]["label"].startswith("<script>alert('1')")


def test_the_page_of_many_long_runs_is_small(tmp_path, capsys):
    losses = [0.123456789012345 + n / 7 for n in range(20_000)]
    runs = [write_small_run(tmp_path / "pets" / name, losses=losses) for name in "abc"]

    assert len(write_page(capsys, tmp_path / "page.html", *runs)) < 1_000_000


def test_runs_before_their_first_epoch_have_a_page(tmp_path, capsys):
    runs = [write_small_run(tmp_path / "pets" / name, losses=()) for name in "ab"]

    page = write_page(capsys, tmp_path / "page.html", *runs)

    assert "No epoch has ended so far." in page
    assert "The configs do not differ." in page


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mine.html", "--html: mine.html exists and was not written by 'ddpkit compare'; choose another name"),
        ("report.html", "--html: report.html exists and was not written by 'ddpkit compare'; choose another name"),
        ("page.txt", "--html: page.txt must end in .html"),
        ("none/page.html", "--html: the folder none does not exist; create it, or choose another one"),
    ],
)
def test_other_files_are_never_replaced(tmp_path, monkeypatch, capsys, name, message):
    monkeypatch.chdir(tmp_path)
    runs = [str(write_small_run(tmp_path / "pets" / name)) for name in "ab"]
    (tmp_path / "mine.html").write_text("<title>my notes about ddpkit compare</title>")
    (tmp_path / "report.html").write_text('<meta name="generator" content="ddpkit report 0.1.0">')
    before = {file: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()}

    assert main(["compare", *runs, "--html", name]) == 2

    output = capsys.readouterr()
    assert (output.out, output.err) == ("", f"{message}\n")
    assert {file: file.read_bytes() for file in tmp_path.iterdir() if file.is_file()} == before


def test_an_older_page_is_replaced(tmp_path, capsys):
    a, b, c = (write_small_run(tmp_path / "pets" / name) for name in "abc")
    write_page(capsys, tmp_path / "page.html", a, b)

    page = write_page(capsys, tmp_path / "page.html", a, b, c)

    assert "Comparison of 3 runs" in page


def test_json_is_the_only_output_for_scripts(tmp_path, capsys):
    runs = [str(write_small_run(tmp_path / "pets" / name)) for name in "ab"]

    assert main(["compare", *runs, "--json", "--html", str(tmp_path / "page.html")]) == 0

    assert len(json.loads(capsys.readouterr().out)["runs"]) == 2
    assert (tmp_path / "page.html").is_file()
