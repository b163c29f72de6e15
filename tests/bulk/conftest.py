"""One S3 server for all tests of bulk prediction."""

from collections.abc import Iterator

import pytest

from tests.bulk.s3 import s3_server


@pytest.fixture(scope="session")
def s3_environment() -> Iterator[dict[str, str]]:
    """Run the server; the environment with which it is reached."""
    with s3_server() as environment:
        yield environment


@pytest.fixture(scope="module")
def s3(s3_environment: dict[str, str]) -> Iterator[None]:
    """Reach the server from this process, and from those that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_environment.items():
            patch.setenv(name, value)
        yield
