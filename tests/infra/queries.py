"""Parts of recorded manifests that several test modules read."""

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
