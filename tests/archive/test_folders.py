"""Studies pulled to a folder and pushed from it, and the credentials of DICOMweb."""

import base64
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mammoscope.__main__ import main
from mammoscope.archive.dicomweb import DicomWeb, _only_part
from mammoscope.errors import ArchiveError, ArchiveRefusedError, ArchiveUnreachableError
from mammoscope.settings.archive import ArchiveSettings
from tests.archive.studies import study, study_uid_of
from tests.servers import send, server

LIMIT = 1 << 20


def client(url: str, **settings: object) -> DicomWeb:
    return DicomWeb(ArchiveSettings(dicomweb=url, **settings), LIMIT)


def test_a_study_is_pulled_and_pushed_with_identical_bytes(orthanc, tmp_path, capsys) -> None:
    images = study(0, "jpeg-2000")
    orthanc.store(*images)
    uid = study_uid_of(images[0])
    options = ["--dicomweb", orthanc.dicomweb]
    assert main(["archive", "pull", uid, *options, "--output", str(tmp_path)]) == 0
    paths = [Path(line) for line in capsys.readouterr().out.splitlines()]
    assert sorted(path.read_bytes() for path in paths) == sorted(images)
    orthanc.clear()
    for _ in range(2):  # what is there is not sent again
        assert main(["archive", "push", str(tmp_path), *options]) == 0
        assert sorted(orthanc.instances()) == sorted(images)


def test_what_cannot_be_pulled_or_pushed_is_told(orthanc, tmp_path, capsys) -> None:
    options = ["--dicomweb", orthanc.dicomweb]
    assert main(["archive", "pull", "1.2.3", *options, "--output", str(tmp_path)]) == 1
    assert main(["archive", "push", str(tmp_path), *options]) == 1
    (tmp_path / "text").write_text("no DICOM")
    assert main(["archive", "push", str(tmp_path), *options]) == 1
    printed = capsys.readouterr().err
    for words in ("lists no mammogram", "no files to send", "no DICOM object"):
        assert words in printed


def test_credentials_are_sent(tmp_path) -> None:
    got = []

    def answer(handler) -> None:
        got.append(handler.headers["Authorization"])
        send(b"[]", Content_Type="application/dicom+json")(handler)

    secret = tmp_path / "secret"
    secret.write_text("first\n")
    with server(answer) as url:
        by_token = client(url, token_file=secret)
        by_token.instances("1.2.3")
        secret.write_text("second\n")
        by_token.instances("1.2.3")
        client(url, username="user", password_file=secret).instances("1.2.3")
    basic = base64.b64encode(b"user:second").decode()
    assert got[:1] == ["Bearer first"]
    assert "Bearer second" in got
    assert got[-1] == f"Basic {basic}"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, ArchiveUnreachableError), (403, ArchiveUnreachableError),
        (429, ArchiveUnreachableError), (503, ArchiveUnreachableError),
        (400, ArchiveRefusedError), (404, ArchiveRefusedError), (500, ArchiveRefusedError),
    ],
)  # fmt: skip
def test_answers_of_a_server_are_told_apart(status: int, error: type[ArchiveError]) -> None:
    with server(send(b"patient 1.2.3", status)) as url:
        for call in (
            lambda: client(url).instances("1.2.3"),
            lambda: client(url).store("1.2.3", [b"file"]),
        ):
            with pytest.raises(error) as caught:
                call()
            assert type(caught.value) is error
            assert "1.2.3" not in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"no JSON", b"{", b'[{"00080018": 5}]', b"[5]"])
def test_answers_that_are_no_dicom_json_are_refused(body: bytes) -> None:
    with server(send(body, Content_Type="application/dicom+json")) as url:
        if body:
            with pytest.raises(ArchiveRefusedError):
                client(url).instances("1.2.3")
        else:
            assert client(url).instances("1.2.3") == []


HEADS = [b"", b"Content-Type: application/dicom\r\n", b"A: b\r\nContent-Length: 5\r\n"]


@given(
    st.binary(max_size=200),
    st.from_regex(r"[A-Za-z0-9'()+_,./:=?-]{1,40}", fullmatch=True),
    st.sampled_from(HEADS),
    st.sampled_from([b"", b"\r\n", b"preamble\r\n"]),
    st.booleans(),
)
def test_any_image_comes_out_of_a_multipart_body(data, boundary, head, before, quoted) -> None:
    line = b"--" + boundary.encode()
    assume(b"\r\n" + line not in b"\r\n" + data)
    named = f'"{boundary}"' if quoted or not boundary.isalnum() else boundary
    kind = f'multipart/related; type="application/dicom"; boundary={named}'
    body = before + line + b"\r\n" + head + b"\r\n" + data + b"\r\n" + line + b"--\r\n"
    assert _only_part(body, kind) == data
    with pytest.raises(ArchiveRefusedError):
        _only_part(body[: len(before + line + head + data) + 4], kind)


def test_an_image_without_multipart_is_taken_as_it_is() -> None:
    assert _only_part(b"DICM", "application/dicom") == b"DICM"
