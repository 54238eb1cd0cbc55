"""A page of another origin, in a real browser, gets nothing done in the embedded AWS, even one that knows the key."""

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser

from helpers.stage import embedded_aws
from kennel.local.control import Running
from kennel.stage.deployed import DeployedStage

PAGE = """<!doctype html><title>elsewhere</title>
<form id="form" method="post" action="{url}" target="frame"><input name="Action" value="CreateTopic">
<input name="Version" value="2010-03-31"><input name="Name" value="form"></form>
<iframe name="frame" id="frame"></iframe><img src="{url}&Action=CreateTopic&Version=2010-03-31&Name=image">
<script>
const tried = [];
for (const mode of ["no-cors", "cors"])
  tried.push(fetch("{url}", {{method: "POST", mode, body: new URLSearchParams(
    {{Action: "CreateTopic", Version: "2010-03-31", Name: mode}})}}).then((answer) => answer.status, String));
document.getElementById("frame").onload = () => Promise.all(tried).then(() => document.title = "done");
document.getElementById("form").submit();
</script>"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with embedded_aws(tmp_path_factory.mktemp("gate")) as running:
        yield running


def url(server: Running) -> str:
    """Of a call that is allowed: what a form sends to it makes a topic."""
    return f"http://127.0.0.1:{server.port}/?AWSAccessKeyId={server.key}"


@pytest.fixture
def elsewhere(server: Running) -> Iterator[str]:
    """The address of the page."""
    page = PAGE.format(url=url(server)).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://localhost:{listening.server_port}/"
        listening.shutdown()


def topics() -> set[str]:
    """Names of all that there are."""
    found = DeployedStage("dev").client("sns").list_topics()["Topics"]
    return {topic["TopicArn"].rpartition(":")[2] for topic in found}


def test_page_of_another_origin_gets_nothing_done(server: Running, elsewhere: str, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(elsewhere)
    page.wait_for_function("document.title === 'done'")
    assert topics() == set()
    # The same without a browser: the page's calls are good ones.
    body = b"Action=CreateTopic&Version=2010-03-31&Name=form"
    urllib.request.urlopen(urllib.request.Request(url(server), body, method="POST"))
    assert topics() == {"form"}


@pytest.mark.parametrize("key", ["test", "000000000000", ""])
def test_key_that_anybody_knows_opens_nothing(server: Running, key: str) -> None:
    address = url(server).replace(server.key, key)
    body = b"Action=CreateTopic&Version=2010-03-31&Name=guessed"
    with pytest.raises(urllib.error.HTTPError, match=r"40[03]"):
        urllib.request.urlopen(urllib.request.Request(address, body, method="POST"))
    assert "guessed" not in topics()
