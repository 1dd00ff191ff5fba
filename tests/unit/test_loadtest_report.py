"""`python -m loadtest report` against real servers: both files, their contents, exit codes, the page in a browser."""

import argparse
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import grpc
import pytest
from PIL import Image

from loadtest.__main__ import main
from loadtest.arguments import parse
from loadtest.figures import figures_of
from loadtest.regression import compare
from loadtest.report.command import PAGE_NAME, RECORD_NAME, run, write
from loadtest.report.drawing import DARK, LIGHT
from loadtest.report.page import page
from loadtest.report.plan import Plan
from loadtest.report.starting import StartFailed, started
from tests.unit.loadtest_findings import findings, live, step, unary
from tests.unit.loadtest_servers import live_service, triton
from tests.unit.stub_service import StubTriage, nobody_listening, serving

# However busy the machine is that runs the tests.
ANY_SPEED = ["--lateness-limit", "60000", "--lag-limit", "60000", "--p99-limit", "60000"]
SHORT = Plan(
    rates=(20.0, 40.0), rounds=2, seconds=0.5, alone_s=0.2, full_s=0.2, full_callers=4, warm_up_s=0.1,
    live_calls=2, live_seconds=2.5, live_repeats=2, live_search_s=0.0,
)  # fmt: skip
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class RefusingTriage(StubTriage):
    """Has models, and takes no call."""

    def Classify(self, request, context):  # noqa: ARG002 - gRPC's signature
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "refused")


class Page(HTMLParser):
    """Pictures, addresses and sections of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: list[dict[str, str | None]] = []
        self.addresses: list[str] = []
        self.sections: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag == "img":
            self.images.append(given)
        if tag == "section":
            self.sections.append(given["id"])
        self.addresses += [given[name] for name in ("href", "src", "srcset") if name in given]


@pytest.fixture
def clips(tmp_path):
    folder = tmp_path / "clips"
    folder.mkdir()
    for name in ("a.ulaw", "b.alaw"):
        (folder / name).write_bytes(bytes(range(1, 101)) * 160)
        (folder / name).with_suffix(".txt").write_text("여기 불이 났어요", encoding="utf-8")
    return folder


def options_for(address: str, clips: Path, out: Path, *arguments: str) -> argparse.Namespace:
    return parse(["report", "--address", address, "--clips", str(clips), "--out", str(out), *ANY_SPEED, *arguments])


def test_a_run_leaves_a_page_and_its_numbers(clips, tmp_path):
    said: list[str] = []
    with live_service() as (address, triage), triton() as (triton_address, metrics, _):
        pids = ["--pids", f"service={os.getpid()},triton={os.getpid()}"]
        where = ["--triton", triton_address, "--triton-metrics", metrics, *pids]
        found = run(options_for(address, clips, tmp_path, *where), SHORT, said.append)

    numbers = json.loads((tmp_path / RECORD_NAME).read_text(encoding="utf-8"))
    shown = Page((tmp_path / PAGE_NAME).read_text(encoding="utf-8"))
    assert found.held_rate == 40, found.to_dict()
    assert numbers["kind"] == "report"
    assert numbers["model"] == "multimodal/1"
    assert numbers["versions"]["triton"] == "2.51.0"
    assert [point["rate"] for point in numbers["points"]] == [20, 40]
    assert numbers["live_calls_carried"] == 2
    assert numbers["alone_stages_ms"]["Triton, the way there included"] == 4  # what the stub says of itself
    assert numbers["points"][0]["cores"].keys() == {"service", "triton", "generator", "others"}
    assert {len(each.values) for each in figures_of(numbers).values()} == {SHORT.rounds}
    assert not compare(numbers, numbers).is_worse
    assert shown.sections == ["answer", "load", "triton", "processor", "live", "method"]
    assert {request.model for request in triage.requests} == {"multimodal"}
    assert any("40 calls/s: are held" in each for each in said)


def test_the_command_ends_with_0_and_gives_its_numbers_to_standard_output(clips, tmp_path, capfd):
    few = ["--quick", "--rounds", "1", "--rates", "5", "--live-calls", "0", "--json", "-"]
    with serving() as service:
        where = ["--address", service.address, "--clips", str(clips), "--out", str(tmp_path / "out")]
        code = main(["report", *where, *ANY_SPEED, *few])

    assert code == 0
    assert json.loads(capfd.readouterr().out)["held_rate_per_s"] == 5
    assert (tmp_path / "out" / PAGE_NAME).is_file()


def test_a_limit_that_no_load_keeps_ends_with_1(clips, tmp_path, capsys):
    few = ["--quick", "--rounds", "1", "--rates", "5", "--live-calls", "0", "--p99-limit", "0.1"]
    with serving() as service:
        where = ["--address", service.address, "--clips", str(clips), "--out", str(tmp_path)]
        code = main(["report", *where, *ANY_SPEED[:4], *few])

    assert code == 1
    assert "no load: is held with a p99 of at most 0.1 ms" in " ".join(capsys.readouterr().out.split())


def test_a_service_that_answers_nothing_leaves_nothing_to_report(clips, tmp_path, capsys):
    with serving(RefusingTriage()) as service:
        where = ["--address", service.address, "--clips", str(clips), "--out", str(tmp_path / "out")]
        code = main(["report", "--quick", *where])

    assert code == 2
    assert "answered none of" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_service_that_is_not_there_ends_with_2(clips, tmp_path, capsys):
    with nobody_listening() as address:
        code = main(["report", "--address", address, "--clips", str(clips), "--out", str(tmp_path / "out")])

    assert code == 2
    assert "loadtest: " in capsys.readouterr().err


def test_a_model_that_the_service_lacks_ends_with_2(clips, tmp_path, capsys):
    with serving() as service:
        where = ["--address", service.address, "--clips", str(clips), "--out", str(tmp_path)]
        assert main(["report", *where, "--model", "other"]) == 2

    assert "the service has no model other" in capsys.readouterr().err


def test_servers_that_do_not_start_are_told_of_with_the_end_of_their_log(tmp_path, monkeypatch):
    monkeypatch.setenv("WIGEUP_DEFAULT_MODEL", "")
    monkeypatch.setenv("WIGEUP_NO_SUCH_SETTING", "1")

    with pytest.raises(StartFailed, match="unknown setting WIGEUP_NO_SUCH_SETTING"), started(tmp_path):
        pass


@pytest.fixture
def full_page(tmp_path):
    steps = [step(20, 10, 20), step(40, 11, 25), step(60, 13, 40), step(80, 40, 150, failed=3), step(100, 300, 900)]
    made = findings(unary([steps, steps]), live(100, [80, 120, 700]))
    write(tmp_path, made)
    return made, tmp_path / PAGE_NAME


def test_the_page_needs_nothing_else_and_every_picture_has_a_text(full_page):
    text = full_page[1].read_text(encoding="utf-8")
    shown = Page(text)

    assert len(shown.images) == 8
    assert all(len(image["alt"] or "") > 40 for image in shown.images)
    assert all(address.startswith(("#", "data:image/svg+xml;base64,")) for address in shown.addresses)
    assert "<script" not in text
    assert {address for address in shown.addresses if address.startswith("#")} == {
        f"#{each}" for each in shown.sections
    }
    assert re.search(r"url\(|@import", text) is None
    assert "a &lt;processor&gt;" in text
    assert "a <processor>" not in text


def test_the_page_says_what_was_left_out():
    steps = [step(20, 10, 20), step(40, 11, 25)]

    assert "Left out by --live-calls 0" in page(findings(unary([steps])))


@pytest.mark.skipif(BROWSER is None, reason="no chromium, chromium-browser or google-chrome on this machine")
@pytest.mark.parametrize(
    ("setting", "theme", "paper"), [("1", LIGHT, (255, 255, 255)), ("0", DARK, (20, 24, 28))], ids=["light", "dark"]
)
def test_a_browser_shows_the_pictures_in_light_and_dark(full_page, tmp_path, setting, theme, paper):
    shot = tmp_path / "page.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1000,6000"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", f"--blink-settings=preferredColorScheme={setting}"]
    command = [str(BROWSER), *options, f"--screenshot={shot}", full_page[1].as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)

    with Image.open(shot) as image:
        pixels = image.convert("RGB")
        colours = {colour for _, colour in pixels.getcolors(2**24) or []}
        assert pixels.getpixel((2, 2)) == paper
    assert {_rgb(colour) for colour in theme.series[:3]} <= colours


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour.removeprefix("#")))
