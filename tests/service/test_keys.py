"""API keys and their limits."""

import base64
import datetime as dt
import os
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.serving import make_server

from mammoscope.__main__ import main
from mammoscope.client import Client
from mammoscope.errors import ConfigurationError, ServerAnswerError
from mammoscope.service.app import monitoring_of
from mammoscope.service.keys import issue_key
from mammoscope.settings.service import ServiceSettings
from tests.fake_engine import IMAGE, FakeEngine, app_with, assert_problem, upload

PROBES = {"/healthz", "/readyz", "/v2/health/live", "/v2/health/ready"}
PAGES = {"/", "/model/card", "/docs", "/openapi.json", "/static/page/page.css"}
TODAY = dt.datetime.now(dt.UTC).date()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def client(file: Path, **settings: Any) -> FlaskClient:
    return app_with(ServiceSettings(api_keys_file=file, **settings), FakeEngine()).test_client()


def ask(client: FlaskClient, key: str | None) -> Any:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return client.post("/predict", **upload(IMAGE), headers=headers)


def rewrite(file: Path, text: str) -> None:
    """Replace the file like a mounted secret, and ensure that the change is detected."""
    other = file.with_name("other")
    other.write_text(text)
    later = time.time_ns() + 10**9
    os.utime(other, ns=(later, later))
    other.replace(file)


def wait_until_refused(asking: FlaskClient, key: str) -> None:
    """Wait until the file counts as complete; until then, old keys are valid."""
    end = time.monotonic() + 20
    while ask(asking, key).status_code == 200:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert_problem(ask(asking, key), 401, "unauthorized")


@pytest.mark.abuse("auth")
def test_only_clients_with_a_key_are_served(file: Path) -> None:
    first, second = issue_key(file, "ward"), issue_key(file, "archive")
    asking = client(file)
    assert ask(asking, first).status_code == 200
    assert ask(asking, second).status_code == 200
    basic = base64.b64encode(f"anybody:{first}".encode()).decode()
    for headers in ({"X-API-Key": first}, {"Authorization": f"Basic {basic}"}):
        assert asking.post("/predict", **upload(IMAGE), headers=headers).status_code == 200
    for wrong in (None, "", "x", first[:-1], first + "x", first.upper(), "é"):
        refused = ask(asking, wrong)
        assert_problem(refused, 401, "unauthorized")
        assert "Bearer" in refused.headers["WWW-Authenticate"]
        assert "Basic" in refused.headers["WWW-Authenticate"]
    by_script = asking.get("/model", headers={"X-Requested-With": "XMLHttpRequest"})
    assert by_script.status_code == 401
    assert "Basic" not in by_script.headers["WWW-Authenticate"], "the browser would ask too"
    assert first not in file.read_text()


@pytest.mark.abuse("auth")
def test_every_route_except_probes_and_pages_requires_a_key(file: Path) -> None:
    issue_key(file, "ward")
    expired = issue_key(file, "old", expires=TODAY - dt.timedelta(days=1))
    asking = client(file)
    app = asking.application
    seen = set()
    for rule in app.url_map.iter_rules():
        path = rule.rule.replace("<path:filename>", "page/page.css").replace("<name>", "mammoscope")
        path = path.replace("<int:woman>/<laterality>-<view>", "0/L-CC")
        for method in rule.methods - {"HEAD", "OPTIONS"}:
            for key in ({}, {"X-API-Key": "wrong"}, {"X-API-Key": expired}):
                with asking.open(path, method=method, headers=key) as answer:
                    if path in PROBES | PAGES:
                        assert answer.status_code == 200
                    else:
                        assert_problem(answer, 401, "unauthorized")
                        seen.add(path)
    assert {"/predict", "/display", "/studies", "/model", "/phantoms/0/L-CC.dcm"} <= seen
    assert_problem(asking.get("/nothing"), 401, "unauthorized")


def test_client_sends_its_key(file: Path) -> None:
    key = issue_key(file, "ward")
    server = make_server("127.0.0.1", 0, client(file).application)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        with Client(address, api_key=key) as ours:
            assert ours.model()["version"] == "test-1"
        with Client(address) as nobody, pytest.raises(ServerAnswerError) as caught:
            nobody.model()
        assert caught.value.problem_code == "unauthorized"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.abuse("auth")
def test_keys_expire(file: Path) -> None:
    today = dt.datetime.now(dt.UTC).date()
    expired = issue_key(file, "old", expires=today - dt.timedelta(days=1))
    valid = issue_key(file, "new", expires=today)
    asking = client(file)
    assert_problem(ask(asking, expired), 401, "unauthorized")
    assert ask(asking, valid).status_code == 200


@pytest.mark.abuse("auth")
def test_keys_rotate_without_a_restart(file: Path) -> None:
    first = issue_key(file, "ward")
    asking = client(file)
    assert ask(asking, first).status_code == 200
    lines = file.read_text()
    rewrite(file, lines)
    second = issue_key(file, "ward-2")
    rewrite(file, file.read_text())
    assert ask(asking, first).status_code == ask(asking, second).status_code == 200
    rewrite(file, file.read_text().replace(lines, ""))
    wait_until_refused(asking, first)
    assert ask(asking, second).status_code == 200


@pytest.mark.abuse("auth")
def test_a_damaged_file_does_not_change_the_keys(file: Path) -> None:
    key = issue_key(file, "ward")
    asking = client(file)
    for damage in ("nonsense", "\x00", "ward sha256:12"):
        rewrite(file, damage)
        assert ask(asking, key).status_code == 200
        assert_problem(ask(asking, "nonsense"), 401, "unauthorized")
    file.unlink()
    assert ask(asking, key).status_code == 200
    rewrite(file, "# nobody\n")
    wait_until_refused(asking, key)


@pytest.mark.abuse("auth")
def test_keys_stay_valid_while_the_file_is_written(file: Path) -> None:
    key = issue_key(file, "ward")
    asking = client(file)
    line = file.read_text()
    file.write_text("")  # truncated, as editors and shells do first
    assert ask(asking, key).status_code == 200
    new = issue_key(file, "new")
    assert ask(asking, new).status_code == ask(asking, key).status_code == 200
    with file.open("a") as stream:
        for half in (line[:20], line[20:]):
            stream.write(half)
            stream.flush()
            assert ask(asking, key).status_code == 200
    time.sleep(1.2)  # longer than it takes for a file to count as complete
    assert ask(asking, new).status_code == ask(asking, key).status_code == 200
    file.write_text("")
    wait_until_refused(asking, key)


@pytest.mark.abuse("auth")
def test_keys_expire_without_their_file(file: Path) -> None:
    key = issue_key(file, "ward")
    asking = client(file, key_file_grace_s=1)
    unreadable = partial(
        monitoring_of(asking.application).registry.get_sample_value,
        "mammoscope_api_keys_unreadable_seconds",
    )
    assert unreadable() == 0
    assert "warnings" not in asking.get("/readyz").json
    kept = file.read_text()
    file.unlink()
    assert asking.get("/readyz").json["warnings"] == ["api_keys_unreadable"]
    assert ask(asking, key).status_code == 200
    assert unreadable() > 0
    time.sleep(1.2)
    for refused in (ask(asking, key), ask(asking, "x"), asking.get("/readyz"),
                    asking.get("/v2/health/ready")):  # fmt: skip
        assert_problem(refused, 503, "invalid_configuration")
    assert asking.get("/healthz").status_code == asking.get("/v2/health/live").status_code == 200
    file.write_text(kept)
    assert ask(asking, key).status_code == 200
    assert asking.get("/readyz").status_code == 200
    assert unreadable() == 0


@pytest.mark.abuse("auth")
def test_the_wall_clock_does_not_affect_rate_limits(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = issue_key(file, "ward")
    asking = client(file, rate_limit_per_minute=2)
    assert [ask(asking, key).status_code for _ in range(3)] == [200, 200, 429]
    real = time.time
    for moved_s in (-3600, 3600):
        monkeypatch.setattr(time, "time", lambda moved_s=moved_s: real() + moved_s)
        assert ask(asking, key).status_code == 429


@pytest.mark.parametrize(
    "content", [None, "ward", "ward sha256:xyz", "ward sha256:" + "0" * 64 + " soon"]
)
def test_service_does_not_start_without_its_keys(file: Path, content: str | None) -> None:
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigurationError, match="API keys"):
        client(file)


@pytest.mark.abuse("auth")
def test_rate_limit_is_per_key(file: Path) -> None:
    first, second = issue_key(file, "ward"), issue_key(file, "archive")
    asking = client(file, rate_limit_per_minute=3)
    assert [ask(asking, first).status_code for _ in range(4)] == [200, 200, 200, 429]
    refused = ask(asking, first)
    assert_problem(refused, 429, "rate_limited")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert ask(asking, second).status_code == 200
    assert asking.get("/healthz").status_code == 200


def test_command_issues_keys(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "ward", "--file", str(file), "--days", "30"]) == 0
    key = capsys.readouterr().out.strip()
    assert ask(client(file), key).status_code == 200
    assert file.stat().st_mode & 0o777 == 0o600
    assert main(["key", "ward", "--file", str(file)]) == 1
    assert main(["key", "two words", "--file", str(file)]) == 1
