"""Common base of settings and cards: immutable, validated, with one message for all errors."""

import ast
import inspect
import textwrap
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated

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
    """Validated, immutable values; an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


def descriptions(settings: type[Frozen]) -> dict[str, str]:
    """Return the docstring below each field, on one line.

    pydantic would read them at each import, which takes time, and few programs show them.
    """
    found = {}
    for kind in reversed(settings.__mro__[: settings.__mro__.index(Frozen)]):
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
        for field, text in pairwise(ast.iter_child_nodes(tree.body[0])):
            match field, text:
                case ast.AnnAssign(target=ast.Name(name)), ast.Expr(ast.Constant(str(words))):
                    found[name] = " ".join(words.split())
    return found
