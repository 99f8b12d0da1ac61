"""``python -m gateway.kubernetes api`` and ``python -m gateway.kubernetes controller``, configured by the site."""

import argparse
import signal
import sys
from collections.abc import Sequence
from typing import Any

from dask_gateway_server.app import DaskGateway

from gateway import settings
from gateway.kubernetes.configuration import api_config, controller_config
from gateway.kubernetes.controller.controller import FacilityKubeController
from gateway.service.metrics import Measured
from gateway.site import Backend, SiteError


class Api(Measured, DaskGateway):  # type: ignore[misc] # upstream has no types
    """Upstream's API server, configured by the site instead of by a file of Python."""

    kind = Backend.KUBERNETES

    def load_config_file(self, *_args: object, **_kwargs: object) -> None:
        """Take the configuration that the site makes."""
        self.update_config(api_config(settings.current_site()))


class Controller(Measured, FacilityKubeController):
    """The controller, configured by the site instead of by a file of Python."""

    kind = Backend.KUBERNETES

    def load_config_file(self, *_args: object, **_kwargs: object) -> None:
        """Take the configuration that the site makes."""
        self.update_config(controller_config(settings.current_site()))


COMMANDS: dict[str, Any] = {"api": Api, "controller": Controller}


def main(arguments: Sequence[str]) -> None:
    """Run a part of the gateway until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m gateway.kubernetes", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    command = parser.parse_args(arguments).command
    # Until the event loop has its own handlers: process 1 of a container, which this is outside of our pods, would not
    # hear it at all.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        settings.current_site()
    except SiteError as error:
        sys.exit(str(error))
    COMMANDS[command].launch_instance(argv=[])


if __name__ == "__main__":
    main(sys.argv[1:])
