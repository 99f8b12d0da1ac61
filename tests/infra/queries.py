"""Parts of recorded manifests that several test modules read."""

from base64 import b64decode

import yaml

WORKLOADS = ("api", "controller", "traefik")
"""Names of the gateway's Deployments, without the release."""


def pods(manifests):
    """Return the pod specification of each Deployment, by the Deployment's name."""
    return {
        name: deployment["spec"]["template"]["spec"] for name, deployment in manifests.of_kind("Deployment").items()
    }


def rules(manifests, name):
    """Return the rules of a Role as triples of API group, resource and verb."""
    return {
        (group, resource, verb)
        for rule in manifests.get("Role", name)["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def read_by_traefik(manifests, path):
    """Return the content of a file in Traefik's container, as the stack makes it."""
    directory, _, file = path.rpartition("/")
    pod = pods(manifests)["traefik-dask-gateway-k8s"]
    (mounted,) = [mount["name"] for mount in pod["containers"][0]["volumeMounts"] if mount["mountPath"] == directory]
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == mounted]
    if "secret" in volume:
        return b64decode(manifests.get("Secret", volume["secret"]["secretName"])["data"][file])
    return manifests.get("ConfigMap", volume["configMap"]["name"])["data"][file]


def traefik_configuration(manifests):
    """Return the configuration that Traefik reads from a file."""
    (container,) = pods(manifests)["traefik-dask-gateway-k8s"]["containers"]
    (file,) = [text.partition("=")[2] for text in container["args"] if text.startswith("--providers.file.filename")]
    return yaml.safe_load(read_by_traefik(manifests, file))
