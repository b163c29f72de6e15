"""``mammoscope archive``: status, retry and wrong usage; the round trip is in tests/archive."""

from contextlib import suppress
from pathlib import Path

import pytest

from mammoscope.__main__ import main
from mammoscope.archive.state import Sighting, State
from mammoscope.errors import ArchiveRefusedError, ConfigurationError
from mammoscope.settings.archive import ArchiveSettings, parse_dicom_address
from mammoscope.settings.service import ServiceSettings

STUDY = "1.2.826.0.1.3680043.8.498.7"


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A state with a failed study and a pending one."""
    url = f"sqlite:///{tmp_path / 'state.db'}"
    with State(url) as state:
        state.note(Sighting(STUDY, ["1.2.3"]), "1", 0.0)
        claim = state.claim([], 60.0)
        assert claim is not None
        state.fail(claim, ArchiveRefusedError("The archive refuses."), "1")
        state.note(Sighting("1.2.9", ["1.2.9.1"]), "1", 0.0)
    return url


def test_status_prints_the_queue_and_how_to_try_again(url, capsys) -> None:
    assert main(["archive", "status", "--state", url]) == 1
    printed = capsys.readouterr().out
    assert "received           1" in printed
    assert "failed             1" in printed
    assert "The archive refuses." in printed
    assert STUDY not in printed
    (command,) = [line for line in printed.splitlines() if "try again" in line]
    words = command.partition("mammoscope ")[2].split()
    assert words[-2:] == ["--state", url]
    assert main(words) == 0
    assert capsys.readouterr().out == "studies queued again: 1\n"
    assert main(["archive", "status", "--state", url]) == 0


def test_status_prints_uids_if_asked(url, capsys) -> None:
    main(["archive", "status", "--uids", "--state", url])
    assert STUDY in capsys.readouterr().out


def test_retry_needs_studies(url, capsys) -> None:
    assert main(["archive", "retry", "--state", url]) == 2
    assert main(["archive", "retry", "000000", "--state", url]) == 1
    assert "no failed study has this ID" in capsys.readouterr().err
    assert main(["archive", "retry", "--all", "--state", url]) == 0


@pytest.mark.parametrize("command", [["status"], ["retry", "--all"]])
def test_a_state_that_does_not_exist_is_not_made(command, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for state in ([], ["--state", "sqlite:///other.db"], ["--state", "sqlite:///no/state.db"]):
        assert main(["archive", *command, *state]) == 1
        assert "There is no state in this file" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    words = ["archive", "worker", "--dicomweb", "http://pacs", "--state", "sqlite:///no/state.db"]
    assert main(words) == 1
    assert "The state's folder does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "gets no studies"),
        (["--from", "2020-13-01"], "no date as in 2015-01-31: 2020-13-01"),
        (["--dicomweb", "http://pacs", "--to", "2020-01-01"], "--to needs --from"),
        (
            ["--dicomweb", "http://pacs", "--from", "2021-01-01", "--to", "2020-12-31"],
            "--to is earlier than --from",
        ),
        (["--dicomweb", "pacs"], "--dicomweb: must be an address that begins with http://"),
        (["--listen", "A" * 17 + "@104"], "a title of 1 to 16 characters and a port of 1 to"),
        (["--listen", "MAMMOSCOPE@11112"], "cannot store results"),
        (["--listen", "no port"], "AET@PORT"),
        (["--dicomweb", "http://user:secret@pacs/dicom-web"], "--dicomweb"),
        (["--dicomweb", "http://pacs", "--state", "mysql://user:secret@x/y"], "sqlite:///FILE"),
        (["--dicomweb", "http://pacs", "--send-to", "PACS@104"], "needs a host"),
    ],
)
def test_a_worker_that_cannot_work_says_what_is_missing(options, message, capsys) -> None:
    with suppress(SystemExit):  # of the parser
        assert main(["archive", "worker", *options]) != 0
    printed = capsys.readouterr().err
    assert message in printed
    assert "secret" not in printed


def test_settings_come_from_the_environment_and_options_take_precedence(monkeypatch) -> None:
    environment = {"MAMMOSCOPE_ARCHIVE_QUIET_S": "5", "MAMMOSCOPE_ARCHIVE_POLL_S": "7"}
    settings = ArchiveSettings.from_environment({"poll_s": 9.0, "listen": None}, environment)
    assert (settings.quiet_s, settings.poll_s, settings.listen) == (5.0, 9.0, None)
    # The service leaves them alone.
    assert ServiceSettings.from_environment(environment) == ServiceSettings()


@pytest.mark.parametrize(
    ("name", "value"),
    [("SEND_CA_FILE", "ca.pem"), ("SEND_CERTIFICATE", "a"), ("COMMITMENT_S", "9")],
)
def test_settings_of_sending_need_an_address(name, value, monkeypatch, capsys) -> None:
    monkeypatch.setenv(f"MAMMOSCOPE_ARCHIVE_{name}", value)
    assert main(["archive", "worker", "--dicomweb", "http://pacs"]) != 0
    assert "give --send-to" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"LISTEN_CA_FILE": "a"}, "LISTEN_CA_FILE needs MAMMOSCOPE_ARCHIVE_LISTEN_CERTIFICATE"),
        ({"USERNAME": "a"}, "ARCHIVE_USERNAME needs MAMMOSCOPE_ARCHIVE_PASSWORD_FILE"),
        (
            {"USERNAME": "a", "PASSWORD_FILE": "b", "TOKEN_FILE": "c"},
            "ARCHIVE_USERNAME and MAMMOSCOPE_ARCHIVE_TOKEN_FILE exclude each other",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, message) -> None:
    environment = {f"MAMMOSCOPE_ARCHIVE_{name}": value for name, value in settings.items()}
    with pytest.raises(ConfigurationError) as refusal:
        ArchiveSettings.from_environment({}, environment)
    assert message in str(refusal.value)
    assert "value" not in str(refusal.value).lower()


def test_an_unknown_setting_is_refused(capsys, monkeypatch) -> None:
    monkeypatch.setenv("MAMMOSCOPE_ARCHIVE_POLLS", "7")
    assert main(["archive", "status"]) == 1
    assert "MAMMOSCOPE_ARCHIVE_POLLS" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("A@104", ("A", "", 104)),
        ("MY PACS@pacs.example.org:11112", ("MY PACS", "pacs.example.org", 11112)),
        ("A@[::1]:104", ("A", "::1", 104)),
    ],
)
def test_dicom_addresses_are_parsed(given, found) -> None:
    assert parse_dicom_address(given) == found


@pytest.mark.parametrize("given", ["A", "@104", "A@0", "A@70000", "A\\B@104", "A" * 17 + "@104"])
def test_other_addresses_are_refused(given) -> None:
    with pytest.raises(ValueError, match="AET"):
        parse_dicom_address(given)
