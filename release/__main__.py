"""The commands by which administrators build what a site runs: ``python -m release COMMAND``.

Results go to standard output, the programs' own output goes to standard error.
"""

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence

from release import bundle, images, process
from release.image import ReadyImage


def main(arguments: Sequence[str]) -> int:
    """Run a command; return the exit code."""
    given = _parser().parse_args(arguments)
    process.log_file.set(sys.stderr)
    try:
        if given.command == "bundle":
            print(options(bundle.variables()))
        else:
            print(site_lines(images.build(ReadyImage(given.base), given.push)))
    except (process.CommandError, OSError, subprocess.TimeoutExpired) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m release", description="Build what a site runs.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "bundle",
        help="build the archives that Ansible installs on a submission host; print the options of ansible-playbook",
    )
    build = commands.add_parser("images", help="build the images of server and environment; print lines of a site file")
    build.add_argument(
        "--base",
        default=images.DEFAULT_BASE,
        metavar="REFERENCE",
        help="image to build on (default: %(default)s); its Python must be 3.11. The tags of the images change with"
        " this reference, so name a digest or a tag that never moves",
    )
    build.add_argument(
        "--push",
        metavar="REGISTRY",
        help="push the images to REGISTRY/dask-gateway-NAME:TAG, for example registry.example/project",
    )
    return parser


def options(variables: Mapping[str, str]) -> str:
    """Return the options of ``ansible-playbook`` that set variables, in one line."""
    return " ".join(f"--extra-vars {name}={value}" for name, value in variables.items())


def site_lines(references: Mapping[str, str]) -> str:
    """Return the lines of a site file that name images."""
    return "\n".join(["kubernetes:", "  images:", *(f"    {name}: {value}" for name, value in references.items())])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
