"""Entry point of the Pulumi program: read the settings of the stack and declare its components."""

import sys
from pathlib import Path

import pulumi

PROJECT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Declare the stack.

    Pulumi puts only this directory on the module path, so the function adds the project's before it imports.
    """
    sys.path.insert(0, str(PROJECT))
    from infra import program, stack_settings  # noqa: PLC0415 - needs the module path

    program.build(stack_settings.read(pulumi.Config(), PROJECT))


if __name__ == "__main__":
    main()
