"""Common base of settings and cards: immutable, validated, with one message for all errors."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from mammoscope.errors import ConfigurationError

PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]


def explain(
    error: ValidationError, origin: str, written: Mapping[str, str] | None = None
) -> ConfigurationError:
    """Convert pydantic's report into one message: the key, what was received, what is allowed.

    Parameters
    ----------
    error
        pydantic's report.
    origin
        Name of the source for the message.
    written
        Spelling of the keys in the source, where it differs from the names.
    """
    names = written or {}

    def told(problem: ErrorDetails) -> str:
        if not problem["loc"]:  # about several values together
            return problem["msg"]
        first, *below = map(str, problem["loc"])
        key = ".".join((names.get(first, first), *below))
        if problem["type"] == "bind":
            return f"{key} {problem['msg']}"
        is_unknown = problem["type"] == "extra_forbidden"
        return f"{key}: {'there is no such setting' if is_unknown else problem['msg']}"

    return ConfigurationError(f"{origin} cannot be used: {'; '.join(map(told, error.errors()))}")


class Frozen(BaseModel):
    """Validated, immutable values; an unknown key is an error.

    The docstring below a field is its description.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Put each description on one line, however its docstring is wrapped."""
        for field in cls.model_fields.values():
            field.description = " ".join((field.description or "").split())
