"""What the program is told: the site file, and through Pulumi's configuration what must not stand in it."""

from dataclasses import dataclass
from pathlib import Path

import pulumi

from gateway import site


@dataclass(frozen=True)
class StackSettings:
    """Everything that decides what the stack declares."""

    site: site.Site
    hub_token: pulumi.Input[str]
    """The gateway's JupyterHub API token; secret."""
    directory_ca: str | None = None
    """Certificates (PEM) of the directory's authority, for sites that have a ``directory.ca_file``."""


def read(config: pulumi.Config, project: Path) -> StackSettings:
    """The settings of the selected stack.

    ``site`` (required) is the site file relative to the project; ``hub-token`` (required, secret) the JupyterHub
    service's token; ``images`` (an object with ``server``, ``environment``, ``traefik``) replaces images of the site;
    ``directory-ca`` is needed when the site has a ``directory.ca_file``. Raises ``pulumi.RunError`` that says what to
    set.
    """
    try:
        loaded = site.load(project / config.require("site"))
    except site.SiteError as error:
        raise pulumi.RunError(str(error)) from error
    directory_ca = config.get("directory-ca")
    ca_file = loaded.identity.directory.ca_file
    if ca_file and not directory_ca:
        raise pulumi.RunError(
            f"the site's identity.directory.ca_file is {ca_file}, but the stack has no certificates to put there; "
            "set them: pulumi config set directory-ca < ca.crt"
        )
    return StackSettings(
        site=with_images(loaded, config.get_object("images") or {}),
        hub_token=config.require_secret("hub-token"),
        directory_ca=directory_ca if ca_file else None,
    )


def with_images(original: site.Site, images: dict[str, str]) -> site.Site:
    """The site with some of its images replaced. Raises ``pulumi.RunError`` for an image that no site has."""
    unknown = sorted(set(images) - set(site.Images.model_fields))
    if unknown:
        known = ", ".join(site.Images.model_fields)
        raise pulumi.RunError(f"the stack's configuration images has the unknown key {unknown[0]!r}; known are {known}")
    replaced = original.kubernetes.images.model_copy(update=images)
    kubernetes = original.kubernetes.model_copy(update={"images": replaced})
    return original.model_copy(update={"kubernetes": kubernetes})
