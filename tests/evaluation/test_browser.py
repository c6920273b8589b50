"""The report in Chromium: no errors, nothing wider than the window, and the parts that react do."""

from __future__ import annotations

import fcntl
import io
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cotag.evaluation.report import write_report
from cotag.evaluation.sections.assembly import score_sections
from cotag.types.labels import LabelSpace
from cotag.types.scores import Scores

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (apt-get install chromium)")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"),
    *("--no-first-run", "--disable-dev-shm-usage", "--disable-background-networking"),
)
WIDTHS = {1440: (1440, 900, False), 390: (390, 844, True)}


class Browser:
    """A Chromium that is spoken to through a pipe, by the DevTools protocol."""

    def __init__(self, profile: Path) -> None:
        read, self._commands = os.pipe()
        self._answers, write = os.pipe()

        def connect() -> None:
            # Chromium takes commands on 3 and answers on 4, which may be one of these.
            ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (read, write)]
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        # A group of its own: the wrapper of some systems starts more processes.
        self._process = subprocess.Popen(
            [str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}"],
            pass_fds=(3, 4),
            preexec_fn=connect,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        os.close(read)
        os.close(write)
        self._number, self._pending, self._session = 0, b"", None
        self.wrong: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.ask(f"{domain}.enable")

    _session: str | None = None

    def ask(self, method: str, **given: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; errors of the page on the way are kept in ``wrong``."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": given}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                found: dict[str, Any] = answer["result"]
                return found
            name, said = answer.get("method"), answer.get("params", {})
            severe = name == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert")
            severe |= name == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning")
            if severe or name == "Runtime.exceptionThrown":
                self.wrong.append(json.dumps(said)[:500])

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._pending:
            part = os.read(self._answers, 1 << 20)
            assert part, "Chromium went away"
            self._pending += part
        first, _, self._pending = self._pending.partition(b"\0")
        found: dict[str, Any] = json.loads(first)
        return found

    def open(self, path: Path, width: int, scheme: str) -> None:
        """Load a page at a width in CSS pixels and a color scheme, and wait until its figures are drawn."""
        wide, high, mobile = WIDTHS[width]
        self.ask("Emulation.setDeviceMetricsOverride", width=wide, height=high, deviceScaleFactor=1, mobile=mobile)
        self.ask("Emulation.setEmulatedMedia", media="", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.ask("Page.navigate", url=path.resolve().as_uri())
        self.run("new Promise(done => document.readyState === 'complete' ? done() : addEventListener('load', done))")
        self.run("new Promise(done => setTimeout(done, 300))")

    def run(self, code: str) -> Any:
        """The value of an expression in the page."""
        answer = self.ask("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def close(self) -> None:
        """End the browser."""
        os.close(self._commands)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(5)
        os.close(self._answers)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    found = Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    jpeg = io.BytesIO()
    Image.new("RGB", (160, 107), "teal").save(jpeg, "JPEG")
    random = np.random.default_rng(0)
    names = [f"label {k}" for k in range(29)] + ["<img src=x onerror=console.error(1)>" + "long" * 20]
    targets_NK = (random.random((120, 30)) < np.linspace(0.05, 0.6, 30)).astype(np.int8)
    logits_NK = (3 * targets_NK + random.normal(size=(120, 30)) - 2).astype(np.float32)
    ids = [f"<b>{row}</b>.jpg" for row in range(120)]
    scores = Scores(ids, logits_NK, targets_NK, "logit", LabelSpace(tuple(names)))
    history = [{"epoch": k, "train_loss": 1 / k, "val_mAP": 1 - 1 / k} for k in (1, 2, 3)]
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report(score_sections(scores, history=history, thumbnail=lambda _: jpeg.getvalue()), path, "Scores")
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_goes_wrong_and_nothing_is_too_wide(width: int, scheme: str, browser: Browser, page: Path) -> None:
    browser.wrong.clear()
    browser.open(page, width, scheme)
    assert browser.run("innerWidth") == width
    assert browser.run("document.documentElement.scrollWidth") <= width
    assert browser.run("document.querySelectorAll('[data-figure] .main-svg').length") > 0
    assert browser.run("[...document.querySelectorAll('[data-figure]')].every(place => place.data?.length)")
    assert browser.run("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    light = browser.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert light == (scheme == "light")
    browser.ask("Page.printToPDF")
    assert browser.wrong == []


def test_names_of_labels_stand_literally(browser: Browser, tmp_path: Path) -> None:
    names = ["<b>bold</b>", 'say "hi" & go', "a &amp; b", "line<br>break", "long " * 30]
    targets_NK = np.repeat(np.eye(5, dtype=np.int8), 4, axis=0)
    scores = Scores(
        [str(n) for n in range(20)], targets_NK.astype(np.float32), targets_NK, "logit", LabelSpace((*names,))
    )
    write_report(score_sections(scores), tmp_path / "names.html", "Scores")
    browser.open(tmp_path / "names.html", 390, "dark")
    drawn = browser.run("[...document.querySelectorAll('[data-figure] text')].map(text => text.textContent)")
    assert set(names[:4]) < set(drawn)
    assert {f"{name} (AP 1.000)" for name in names[:3]} < set(drawn)
    assert max(map(len, drawn)) <= 60
    assert not browser.run(
        "[...document.querySelectorAll('[data-figure] text tspan')].some(part => part.style.fontWeight)"
    )
    # The name that is long leaves the numbers of the others where they can be seen.
    left = "[...document.querySelectorAll('#section-2-table td')].map(cell => cell.getBoundingClientRect().left)[0]"
    assert browser.run(left) < 260


def test_rows_are_found_and_told(browser: Browser, page: Path) -> None:
    browser.open(page, 1440, "light")
    browser.run(
        "{ window.field = document.querySelector('#section-2-search');"
        " window.type = text => { field.value = text; field.dispatchEvent(new Event('input')); };"
        " window.shown = () => document.querySelectorAll('#section-2-table tbody tr:not([hidden])').length"
        " }"
    )
    assert browser.run("field.labels[0].checkVisibility()")
    assert browser.run("shown()") == 30
    browser.run("type('LABEL 2')")
    assert browser.run("shown()") == 10
    assert browser.run("document.querySelector('#section-2-search ~ output').textContent") == "10 of 30 rows"
    browser.run("field.dispatchEvent(new KeyboardEvent('keydown', { key: 'Escape' }))")
    assert browser.run("shown()") == 30


def test_curves_are_chosen_by_keyboard_and_keep_to_the_page(browser: Browser, page: Path) -> None:
    browser.open(page, 1440, "light")
    browser.run("{ window.list = document.querySelector('[data-lines]'); list.open = true; }")
    place = "document.querySelector(`[data-figure='${list.dataset.lines}']`)"
    visible = f"{place}.data.filter(trace => trace.visible === true).length"
    assert browser.run("list.querySelectorAll('input[type=checkbox]').length") == 31
    assert browser.run(visible) == 4
    browser.run("list.querySelectorAll('input[type=checkbox]')[9].focus()")
    for kind in ("keyDown", "char", "keyUp"):
        browser.ask("Input.dispatchKeyEvent", type=kind, key=" ", code="Space", text=" ", windowsVirtualKeyCode=32)
    assert browser.run(visible) == 5
    assert browser.run(f"{place}.data[9].visible")
    colors = f"new Set({place}.data.filter(t => t.visible).map(t => t.line.color + t.line.dash)).size"
    assert browser.run(colors) == 5


def test_paper_holds_the_lines_and_the_window_gets_its_width_back(browser: Browser, page: Path) -> None:
    browser.open(page, 1440, "dark")
    widths = "[...document.querySelectorAll('[data-figure]')].map(place => place._fullLayout.width)"
    before = browser.run(widths)
    browser.run("dispatchEvent(new Event('beforeprint'))")
    assert set(browser.run(widths)) == {680}
    browser.run("dispatchEvent(new Event('afterprint'))")
    assert browser.run(widths) == before
    browser.ask("Emulation.setEmulatedMedia", media="print")
    assert browser.run("document.querySelectorAll('.js-line').length") > 5
    assert browser.run("[...document.querySelectorAll('.js-line')].every(line => line.getClientRects().length > 0)")
    assert not browser.run("[...document.querySelectorAll('.search')].some(field => field.checkVisibility())")
