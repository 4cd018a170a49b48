"""A real Prefect server is closed to other users and to pages in the user's browser."""

import http.server
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.server import embedded
from flows.server.embedded import EmbeddedServer
from flows.server.settings import FolderSettings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A Prefect folder where every user may enter the folders above it."""
    place = Path(tempfile.mkdtemp(prefix="closed-"))  # pytest's own are closed to other users
    place.chmod(0o755)
    yield place / ".prefect"
    shutil.rmtree(place)


@pytest.fixture(scope="module")
def server(home: Path) -> EmbeddedServer:
    """What `brmrs run` starts; `brmrs up` starts the same process with the same environment."""
    started = embedded.start(FolderSettings(None, None, home, home / "profiles.toml"))
    started.wait_until_healthy()
    return started


def call(server: EmbeddedServer, path: str, body: dict[str, Any]) -> Any:
    """With the secret."""
    user, _, password = server.auth.partition(":")
    answer = httpx.post(f"{server.url}/{path}", json=body, auth=(user, password), timeout=20)
    answer.raise_for_status()
    return answer.json()


def flow_names(server: EmbeddedServer) -> set[str]:
    return {flow["name"] for flow in call(server, "flows/filter", {})}


def test_the_owner_may_call_it(server: EmbeddedServer) -> None:
    call(server, "flows/", {"name": "mine"})
    assert "mine" in flow_names(server)


@pytest.mark.parametrize("auth", [None, ("brmrs", ""), ("brmrs", "guess"), ("", "")])
def test_a_call_without_the_secret_is_refused(
    server: EmbeddedServer, auth: tuple[str, str] | None
) -> None:
    answer = httpx.post(f"{server.url}/flows/", json={"name": "evil"}, auth=auth, timeout=20)
    assert answer.status_code == 401
    assert "evil" not in flow_names(server)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
def test_another_user_can_neither_call_it_nor_read_its_files(
    server: EmbeddedServer, home: Path
) -> None:
    code = f"""
import encodings.idna, os, urllib.error, urllib.request
os.setgroups([]); os.setgid(12345); os.setuid(12345)
request = urllib.request.Request("{server.url}/flows/", b'{{"name": "evil"}}',
                                 {{"Content-Type": "application/json"}})
try:
    print(urllib.request.urlopen(request).status)
except urllib.error.HTTPError as error:
    print(error.code)
for attempt in (lambda: os.listdir("{home}"), lambda: open("{home}/prefect.db").close(),
                lambda: open("/proc/{server._process.pid}/environ").read()):
    try:
        print(attempt())
    except PermissionError:
        print("denied")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["401", "denied", "denied", "denied"], done.stderr
    assert "evil" not in flow_names(server)


def test_the_database_belongs_to_the_user_alone(server: EmbeddedServer, home: Path) -> None:
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    databases = list(home.glob("prefect.db*"))
    assert databases
    assert {stat.S_IMODE(file.stat().st_mode) for file in databases} == {0o600}
    with sqlite3.connect(f"file:{home}/prefect.db?mode=ro", uri=True) as database:
        assert database.execute("select count(*) from flow").fetchone()[0] >= 0


def test_the_command_line_of_the_server_does_not_hold_the_secret(server: EmbeddedServer) -> None:
    listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert "flows.server.serve" in listed
    assert server.auth.partition(":")[2] not in listed


@pytest.mark.parametrize("path", ["health", "version"])
def test_a_foreign_host_name_is_refused(server: EmbeddedServer, path: str) -> None:
    """DNS rebinding: a page's own name that resolves to this machine."""
    answer = httpx.get(f"{server.url}/{path}", headers={"Host": "evil.example:80"}, timeout=20)
    assert answer.status_code == 400


def test_a_foreign_origin_is_refused(server: EmbeddedServer) -> None:
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    answer = httpx.options(f"{server.url}/flows/", headers=asked, timeout=20)
    assert answer.status_code == 400
    assert "access-control-allow-origin" not in answer.headers


PAGE = """<title>page</title><pre id="done"></pre><script>
async function attempt(name, options) {
  try {
    const answer = await fetch(`API/flows/`, {method: "POST", ...options});
    return `${name}:${answer.type}:${answer.status}`;
  } catch (error) { return `${name}:blocked`; }
}
(async () => {
  const body = JSON.stringify({name: "evil"});
  const results = [
    await attempt("simple", {body, mode: "no-cors", headers: {"Content-Type": "text/plain"}}),
    await attempt("untyped", {body: new Blob([body]), mode: "no-cors"}),
    await attempt("json", {body, headers: {"Content-Type": "application/json"}}),
    await attempt("cookies", {body, credentials: "include"}),
  ];
  document.getElementById("done").textContent = results.join(" ");
})();
</script>"""


def test_a_page_in_the_user_s_browser_changes_nothing(
    server: EmbeddedServer, tmp_path: Path
) -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("no Chromium is installed (Debian: chromium)")

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(PAGE.replace("API", server.url).encode())

        def log_message(self, *args: Any) -> None:
            pass

    site = http.server.HTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=site.serve_forever, daemon=True).start()
    try:
        command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]
        command += [f"--user-data-dir={tmp_path}", "--virtual-time-budget=20000"]
        done = subprocess.run(
            [*command, f"http://127.0.0.1:{site.server_port}/"],
            capture_output=True,
            text=True,
            timeout=120,
        )
    finally:
        site.shutdown()
        site.server_close()
    # The first two leave the browser, whose page cannot see the answer; the others do not.
    assert "simple:opaque:0 untyped:opaque:0 json:blocked cookies:blocked" in done.stdout, done
    assert "evil" not in flow_names(server)


def test_what_the_page_sends_would_be_taken_with_the_secret(server: EmbeddedServer) -> None:
    """Else the test above would show nothing."""
    user, _, password = server.auth.partition(":")
    body = json.dumps({"name": "sent as a page sends it"})
    answer = httpx.post(f"{server.url}/flows/", content=body, auth=(user, password), timeout=20)
    assert answer.status_code in (200, 201)
    assert "sent as a page sends it" in flow_names(server)
