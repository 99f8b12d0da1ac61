"""Start one process of the Kubernetes gateway (``python -m gateway.kubernetes api`` or ``controller``)."""

import argparse
import signal
import sys
from collections.abc import Sequence
from typing import Any

from gateway import settings
from gateway.kubernetes.api.configuration import api_config
from gateway.kubernetes.controller.configuration import controller_config
from gateway.kubernetes.controller.controller import FacilityKubeController
from gateway.service.application import GatewayApplication
from gateway.service.metrics import Measured
from gateway.site import Backend, SiteError


class Api(Measured, GatewayApplication):
    """Upstream's API server, configured by the site instead of a Python file."""

    kind = Backend.KUBERNETES

    def load_config_file(self, *_args: object, **_kwargs: object) -> None:
        """Apply the configuration that follows from the site."""
        self.update_config(api_config(settings.current_site()))


class Controller(Measured, FacilityKubeController):
    """The controller, configured by the site instead of a Python file."""

    kind = Backend.KUBERNETES

    def load_config_file(self, *_args: object, **_kwargs: object) -> None:
        """Apply the configuration that follows from the site."""
        self.update_config(controller_config(settings.current_site()))


COMMANDS: dict[str, Any] = {"api": Api, "controller": Controller}


def main(arguments: Sequence[str]) -> None:
    """Run one process of the gateway until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m gateway.kubernetes", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    command = parser.parse_args(arguments).command
    # Serves until the event loop has its own handlers. Process 1 of a container, which this process is outside of our
    # pods, ignores a signal without a handler.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        settings.current_site()
    except SiteError as error:
        sys.exit(str(error))
    COMMANDS[command].launch_instance(argv=[])


if __name__ == "__main__":
    main(sys.argv[1:])
