"""Schema versions of the files that Mammoscope writes and reads again.

Files from before schema versions have none and count as schema 1.
"""

from typing import Final

KEY: Final = "schema"
"""Key of the schema version in a JSON object, and column of a table."""

_OLDEST: Final = 1


class SchemaError(ValueError):
    """A file whose schema this version does not read."""


def require_known(schema: object, newest: int, what: str) -> None:
    """Refuse a file of a newer version of Mammoscope.

    Parameters
    ----------
    schema
        What the file says, an integer or its digits; None if it says nothing.
    newest
        Newest schema that this version reads.
    what
        Name of the kind of file in the message, such as ``card``.

    Raises
    ------
    SchemaError
        If the schema is newer, or is no schema version.
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
