"""What settings and cards have in common: frozen, checked, and refused with one message."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mammoscope.errors import ConfigurationError

PositiveInt = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0.0)]


def explain(error: ValidationError, origin: str) -> ConfigurationError:
    """Turn pydantic's report into one message: which key, what was received, what is allowed."""
    problems = "; ".join(
        f"{'.'.join(str(part) for part in problem['loc']) or 'value'}: {problem['msg']}"
        for problem in error.errors()
    )
    return ConfigurationError(f"{origin} cannot be used: {problems}")


class Frozen(BaseModel):
    """Values that cannot change once they were checked; an unknown key is an error.

    The docstring below a field is its description.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Write each description in one line, however its docstring is wrapped."""
        for field in cls.model_fields.values():
            field.description = " ".join((field.description or "").split())
