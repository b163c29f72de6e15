"""Schema versions of files that Mammoscope writes and reads.

Files older than schema versions have none and count as schema 1.
"""

from typing import Final

KEY: Final = "schema"
"""Key of the schema version in a JSON object, and column of a table."""

_OLDEST: Final = 1


class SchemaError(ValueError):
    """A file whose schema this version does not support."""


def require_known(schema: object, newest: int, what: str) -> None:
    """Refuse files of a newer version of Mammoscope.

    Parameters
    ----------
    schema
        The file's schema, an integer or its digits; None if missing.
    newest
        Newest supported schema.
    what
        Kind of file in the message, such as ``card``.

    Raises
    ------
    SchemaError
        If the schema is newer, or invalid.
    """
    if schema is None:
        return
    if isinstance(schema, bool) or not str(schema).isdecimal() or int(str(schema)) < _OLDEST:
        raise SchemaError(f"This {what} has no valid schema version; it must be a whole number.")
    if int(str(schema)) > newest:
        raise SchemaError(
            f"This {what} has schema {schema}; this version of Mammoscope reads up to {newest}. "
            "Upgrade Mammoscope."
        )
