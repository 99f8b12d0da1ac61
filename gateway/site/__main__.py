"""Check site files, or print their JSON schema: ``python -m gateway.site check FILE...`` and ``schema``."""

import sys
from collections.abc import Sequence
from pathlib import Path

from gateway.site import SiteError, load, schema_text


def main(arguments: Sequence[str]) -> int:
    """Run ``check FILE...`` or ``schema``; return the exit code: 0 is good, 1 a faulty file, 2 wrong arguments."""
    match list(arguments):
        case ["schema"]:
            sys.stdout.write(schema_text())
            return 0
        case ["check", first, *more]:
            return max(_check(Path(name)) for name in (first, *more))
        case _:
            sys.stderr.write("usage: python -m gateway.site check FILE... | schema\n")
            return 2


def _check(path: Path) -> int:
    try:
        load(path)
    except SiteError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{path}: fine\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
