"""Which objects and pods hold secrets."""

import pytest
import yaml

from infra.program import build
from tests.infra.queries import pods
from tests.infra.recorder import is_secret, record
from tests.infra.samples import settings_of


def test_the_token_is_in_the_secret_alone(manifests, any_site):
    holders = [
        (manifest["kind"], manifest["metadata"]["name"])
        for manifest in manifests
        if "made-up-token" in yaml.safe_dump(manifest)
    ]
    assert holders == [("Secret", f"hub-token-{any_site.kubernetes.release}")]


def test_all_secrets_are_encrypted_in_the_stacks_state(any_site):
    recorded = record(lambda: build(settings_of(any_site)))
    secrets = [args.inputs for args in recorded.resources if args.typ == "kubernetes:core/v1:Secret"]
    assert len(secrets) == 2
    assert all(is_secret(secret.get("stringData") or secret.get("data")) for secret in secrets)


@pytest.mark.weakness(13)
def test_each_secret_is_seen_by_one_part(manifests, any_site):
    release = any_site.kubernetes.release
    seen = {
        name: [volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume]
        for name, pod in pods(manifests).items()
    }
    assert {name: secrets for name, secrets in seen.items() if secrets} == {
        f"api-{release}": [f"hub-token-{release}"],
        f"traefik-{release}": [f"certificate-traefik-{release}"],
    }
