"""The whole site, and the functions that read its file and write its schema."""

import json
from pathlib import Path
from typing import Self

import yaml
from pydantic import ValidationError, model_validator

from gateway.site.faults import SiteError, explained
from gateway.site.gateways import Gateway, KubernetesGateway, SlurmGateway
from gateway.site.identity import AccountSource, Identity
from gateway.site.network import Destination, destination
from gateway.site.storage import Volume
from gateway.site.types import Backend, Model, Name
from gateway.site.variables import EnvironmentVariables


class Site(Model):
    """A site: the two gateways of a facility, with its users, storage and variables."""

    name: Name
    title: str
    identity: Identity
    kubernetes: KubernetesGateway
    slurm: SlurmGateway
    storage: tuple[Volume, ...]
    environment_variables: EnvironmentVariables

    def gateway(self, backend: Backend) -> Gateway:
        """Return the gateway of a back end."""
        return self.kubernetes if backend is Backend.KUBERNETES else self.slurm

    @property
    def identity_services(self) -> tuple[Destination, Destination]:
        """Return where pods reach the hub's API, and where the directory."""
        network, aliases = self.kubernetes.network, self.kubernetes.host_aliases
        return (
            destination("hub", self.identity.hub.api_url, network.hub, aliases),
            destination("directory", self.identity.directory.url, network.directory, aliases),
        )

    @model_validator(mode="after")
    def _policies_know_identity_services(self) -> Self:
        _ = self.identity_services
        return self

    @model_validator(mode="after")
    def _slurm_users_have_accounts(self) -> Self:
        sources = {user_class.name: user_class.account for user_class in self.identity.classes}
        for name in self.slurm.classes:
            if sources.get(name, AccountSource.DIRECTORY) is not AccountSource.DIRECTORY:
                raise ValueError(f"slurm.classes has {name!r}, whose users have no account of their own there")
        return self

    @model_validator(mode="after")
    def _classes_exist(self) -> Self:
        known = {user_class.name for user_class in self.identity.classes}
        used = {f"{backend.value}.classes": set(self.gateway(backend).classes) for backend in Backend}
        for volume in self.storage:
            for backend, by_class in volume.access.items():
                used[f"storage {volume.name} access.{backend.value}"] = set(by_class)
        for place, classes in used.items():
            for unknown in sorted(classes - known):
                raise ValueError(f"{place} names the unknown user class {unknown!r}; known: {', '.join(sorted(known))}")
        return self


def load(path: Path) -> Site:
    """Read a site file and check it.

    Raises :class:`SiteError` when the file can't be read or used; it names every fault by its key's path.
    """
    try:
        data = yaml.safe_load(path.read_text())
    except OSError as error:
        raise SiteError(path, [f"can't be read: {error.strerror}"]) from error
    except yaml.YAMLError as error:
        raise SiteError(path, [f"is not YAML: {' '.join(str(error).split())}"]) from error
    try:
        return Site.model_validate(data)
    except ValidationError as error:
        raise SiteError(path, list(explained(error, Site))) from error


def schema_text() -> str:
    """Return the JSON schema of a site file, as committed in ``sites/schema.json``."""
    return json.dumps(Site.model_json_schema(), indent=2) + "\n"
