"""Fetching of images by URL, without server-side request forgery.

Each hop, meaning the first URL and every redirect, is parsed once, its host is resolved once, all
addresses are checked, and the connection goes to a checked address. A DNS name that changes between
check and connection therefore has no effect.
"""

from mammoscope.service.fetching.addresses import is_public, resolve_addresses
from mammoscope.service.fetching.target import MAX_URL_LENGTH
from mammoscope.service.fetching.transfer import fetch

__all__ = ["MAX_URL_LENGTH", "fetch", "is_public", "resolve_addresses"]
