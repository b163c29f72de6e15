"""What all settings have in common: frozen, checked, and refused with one message."""

from typing import Annotated

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
    """Settings that cannot change once they were checked; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)
