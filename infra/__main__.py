"""The Pulumi program: reads the site and builds the components."""

import sys
from pathlib import Path

import pulumi

PROJECT = Path(__file__).resolve().parent.parent


def main() -> None:
    """Declare the stack. Pulumi puts only this directory on the module path, so the project's is added first."""
    sys.path.insert(0, str(PROJECT))
    from infra import program, stack_settings  # noqa: PLC0415 - see above

    program.build(stack_settings.read(pulumi.Config(), PROJECT))


if __name__ == "__main__":
    main()
