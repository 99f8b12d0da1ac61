"""The section ``environment_variables``: which of a notebook's environment variables reach workers."""

from typing import Annotated

from pydantic import Field

from gateway.site.types import Model

MOST_VARIABLES_BYTES = 524288
"""Highest ``maximum_bytes``. The variables come in one request (upstream's API takes 1 MiB of JSON) and go into one
Secret (Kubernetes takes 1 MiB of data)."""


class WithheldVariable(Model):
    """A pattern of names of environment variables that stay in the notebook."""

    pattern: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\*?$")]
    """A name, or a prefix followed by ``*``."""
    reason: str


class EnvironmentVariables(Model):
    """The variables of the option ``env`` that reach workers."""

    withheld: tuple[WithheldVariable, ...]
    maximum_bytes: Annotated[int, Field(ge=1, le=MOST_VARIABLES_BYTES)]
    """Bound on the sum of all names and values, in bytes."""
    added: dict[str, str] = Field(default={})
    """Variables that workers get unless the user sets them."""
