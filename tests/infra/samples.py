"""Sites and settings with which the tests render the stacks."""

from pathlib import Path

from gateway import site
from infra.stack_settings import StackSettings

ROOT = Path(__file__).resolve().parents[2]


def load(name: str) -> site.Site:
    return site.load(ROOT / "sites" / f"{name}.yaml")


def settings_of(loaded: site.Site) -> StackSettings:
    """Return settings with a made-up token, and a made-up certificate authority if the site has one."""
    return StackSettings(
        site=loaded,
        hub_token="made-up-token",
        directory_ca="made-up authority" if loaded.identity.directory.ca_file else None,
    )
