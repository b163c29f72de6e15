"""URL to bytes, without letting a caller reach what only this machine can reach.

Every hop of a fetch, the first URL and each redirect alike, is parsed once, its host resolved
once, every address of the answer checked, and the connection made to a checked address: a name
that changes between check and connect has nothing to change.
"""

from mammoscope.service.fetching.addresses import is_public, resolve_addresses
from mammoscope.service.fetching.target import MAX_URL_LENGTH
from mammoscope.service.fetching.transfer import fetch

__all__ = ["MAX_URL_LENGTH", "fetch", "is_public", "resolve_addresses"]
