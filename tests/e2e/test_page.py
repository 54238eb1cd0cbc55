"""The page in a real browser, through CloudFront's stand-in, on the embedded AWS."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, Request, expect

from helpers import REPOSITORY
from helpers.stage import Environment
from kennel.errors import KennelError
from kennel.local import cloudfront
from kennel.local.ports import LOOPBACK, answers, free_port

AXE = REPOSITORY / "node_modules" / "axe-core" / "axe.min.js"
# A call of a cold function and a cold model takes a while on a busy machine.
PATIENCE_MS = 60_000
# A busy machine takes longer than the five seconds that Playwright waits.
expect.set_options(timeout=PATIENCE_MS)
LOOKS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light"},
    "dark": {"color_scheme": "dark"},
    "phone": {"color_scheme": "light", "viewport": {"width": 360, "height": 740}},
}


@pytest.fixture(scope="module")
def address(deployed: Environment) -> Iterator[str]:
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(cloudfront.app(deployed.url(), KennelError), host=LOOPBACK, port=port, log_level="warning")
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not answers(f"http://{LOOPBACK}:{port}/openapi.json", timeout_s=PATIENCE_MS / 1000):
        time.sleep(0.1)
    yield f"http://localhost:{port}/"
    server.should_exit = True
    thread.join()


@pytest.fixture(params=LOOKS)
def page(request: pytest.FixtureRequest, browser: Browser, address: str) -> Iterator[Page]:
    """The page as it was loaded; nothing but its own place may be asked, and nothing may be wrong in its console."""
    context = browser.new_context(**LOOKS[request.param])
    opened = context.new_page()
    elsewhere: list[str] = []
    wrong: list[str] = []

    def asked(its: Request) -> None:
        if not its.url.startswith((address, "blob:", "data:")):
            elsewhere.append(its.url)

    opened.on("request", asked)
    # A refusal is a line of its own there, which the page puts into words.
    opened.on("console", lambda line: wrong.append(line.text) if "Failed to load resource" not in line.text else None)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.set_default_timeout(PATIENCE_MS)
    opened.goto(address)
    yield opened
    context.close()
    assert elsewhere == []
    assert wrong == []


def choose(page: Page, name: str, data: bytes, kind: str) -> None:
    page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": data})


def check_accessibility(page: Page) -> None:
    page.evaluate(AXE.read_text())
    found = page.evaluate("axe.run()")
    assert [(item["id"], [node["html"] for node in item["nodes"]]) for item in found["violations"]] == []


def image(deployed: Environment) -> tuple[bytes, str]:
    """An image that the model is right about, and its label."""
    return deployed.image(), deployed.predictions[0]["label"]


def test_chosen_image_shows_label_bars(
    deployed: Environment, page: Page, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    check_accessibility(page)
    data, label = image(deployed)
    choose(page, "image.jpg", data, "image/jpeg")
    first = page.locator("#labels li").first
    expect(first).to_contain_text(label)
    expect(page.get_by_role("status")).to_contain_text(label)
    share = float(first.locator(".share").inner_text().rstrip(" %"))
    bar, track = first.locator(".bar").bounding_box(), first.locator(".track").bounding_box()
    assert bar
    assert track
    assert bar["width"] / track["width"] * 100 == pytest.approx(share, abs=0.6)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "it is wider than its window"
    check_accessibility(page)
    page.screenshot(path=tmp_path / "page.png", full_page=True)


def test_invalid_file_shows_error_message(page: Page) -> None:
    wrong = page.get_by_role("alert")
    choose(page, "notes.txt", b"a text", "text/plain")
    expect(wrong).to_contain_text("no image that the model can read")
    check_accessibility(page)
    choose(page, "half.jpg", b"\xff\xd8\xff" + bytes(100), "image/jpeg")
    expect(wrong).to_contain_text("damaged")
    choose(page, "large.jpg", b"\xff\xd8\xff" + bytes(7_000_000), "image/jpeg")
    expect(wrong).to_contain_text("too large")
    expect(page.locator("#labels")).to_be_hidden()


def test_oversized_photo_is_shrunk_and_answered(deployed: Environment, page: Page) -> None:
    data, label = image(deployed)
    # What follows the last pixel is no part of the image.
    choose(page, "photograph.jpg", data + bytes(9_000_000), "image/jpeg")
    expect(page.locator("#labels li").first).to_contain_text(label)


def test_file_and_camera_are_keyboard_accessible(page: Page) -> None:
    # The system's own window for files is not opened: whether it comes up is not the page's doing.
    page.evaluate(
        """() => {
            window.clicked = [];
            document.addEventListener("click", (event) => { clicked.push(event.target.id); event.preventDefault(); });
        }"""
    )
    for name in ("file", "camera"):
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == name
        assert page.locator(f"#{name} + label").evaluate("label => getComputedStyle(label).outlineStyle") == "solid"
        page.keyboard.press("Enter")
    assert page.evaluate("clicked") == ["file", "camera"]


def test_dropped_image_is_classified(deployed: Environment, page: Page) -> None:
    data, label = image(deployed)
    page.evaluate(
        """(bytes) => {
            const carried = new DataTransfer();
            carried.items.add(new File([new Uint8Array(bytes)], "dropped.jpg", { type: "image/jpeg" }));
            document.dispatchEvent(new DragEvent("drop", { dataTransfer: carried, bubbles: true, cancelable: true }));
        }""",
        list(data),
    )
    expect(page.locator("#labels li").first).to_contain_text(label)


def test_page_recovers_after_endpoint_outage(deployed: Environment, page: Page) -> None:
    data, label = image(deployed)
    for group in {os.getpgid(server.pid) for server in deployed.servers()}:
        os.killpg(group, signal.SIGKILL)
    choose(page, "image.jpg", data, "image/jpeg")
    expect(page.get_by_role("alert")).to_contain_text("cannot answer right now")
    check_accessibility(page)
    while page.locator("#labels").is_hidden():
        time.sleep(0.5)
        choose(page, "image.jpg", data, "image/jpeg")
        expect(page.locator("#busy")).to_be_hidden()
    expect(page.locator("#labels li").first).to_contain_text(label)


def test_missing_or_wrong_body_hash_returns_403(page: Page, address: str) -> None:
    for headers in ({}, {"x-amz-content-sha256": "0" * 64}):
        assert page.request.post(address, data=b"x", headers=headers).status == 403
