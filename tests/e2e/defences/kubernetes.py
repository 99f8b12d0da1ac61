"""Remove a defence of the Kubernetes gateway: edit modules of its pods; change, delete or add objects."""

import copy
import json
from pathlib import Path
from typing import Any

from gateway.site import Backend
from release import process
from testbed import cluster
from testbed.waiting import until
from tests.e2e.defences.removal import FIND, SAVED, Edit, Removal
from tests.e2e.faults import living_pods
from tests.e2e.fetching import answers
from tests.e2e.machines import SETTINGS, await_rollout, kubectl

CONFIG_MAP = "removed-defence"
"""Name of the ConfigMap with the edited modules, and of the volume in pods."""
ANSWER_SECONDS = 60
OLD_PODS_SECONDS = 90
"""Longer than a pod of the API finishes its requests."""
SERVER_FIELDS = ("uid", "resourceVersion", "creationTimestamp", "generation")
"""Fields of an object's metadata that Kubernetes sets."""
Object = dict[str, Any]


class PodEdits(Removal):
    """Mount edited modules over those of a Deployment's image, and roll the Deployment out."""

    def __init__(self, deployment: str, *edits: Edit) -> None:
        self._deployment, self._edits = deployment, edits

    @property
    def edits(self) -> tuple[Edit, ...]:
        """The edits."""
        return self._edits

    @property
    def _saved(self) -> Path:
        return SAVED / f"{self._deployment.replace('/', '-')}.json"

    def remove(self) -> None:
        """Save the template of the pods, and roll out one with the edited modules."""
        texts: dict[str, str] = {}
        for edit in self._edits:
            path = self._in_pod("python", "-I", "-c", FIND, edit.module).strip()
            texts[path] = edit.applied(texts[path] if path in texts else self._in_pod("cat", path))
        keys = {path: f"module-{number}.py" for number, path in enumerate(texts)}
        self._apply_config_map({keys[path]: text for path, text in texts.items()})
        template = json.loads(kubectl("get", self._deployment, "--output", "json"))["spec"]["template"]
        _save(self._saved, template)
        self._roll_out(_with_files(template, self._config_map, keys))

    def restore(self) -> None:
        """Roll out the saved template."""
        if self._saved.exists():
            self._roll_out(json.loads(self._saved.read_text()))
            kubectl("delete", "configmap", self._config_map, "--ignore-not-found")
            self._saved.unlink()

    @property
    def _config_map(self) -> str:
        return f"{CONFIG_MAP}-{self._deployment.rpartition('/')[2]}"

    def _in_pod(self, *command: str) -> str:
        return kubectl("exec", self._deployment, "--", *command)

    def _apply_config_map(self, data: dict[str, str]) -> None:
        made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": self._config_map}, "data": data}
        _send(made, "apply", "--filename=-", namespace=SETTINGS.kubernetes.namespace)

    def _roll_out(self, template: Object) -> None:
        """Replace the template, and wait until no pod of another one is left."""
        change = [{"op": "replace", "path": "/spec/template", "value": template}]
        kubectl("patch", self._deployment, "--type=json", "--patch", json.dumps(change))
        await_rollout(self._deployment)
        spec = json.loads(kubectl("get", self._deployment, "--output", "json"))["spec"]
        selector = ",".join(f"{key}={value}" for key, value in spec["selector"]["matchLabels"].items())
        listing = ("get", "pods", "--selector", selector, "--output", "name")
        until(
            f"{self._deployment} has no old pod",
            lambda: len(kubectl(*listing).split()) == len(living_pods(selector)) == spec["replicas"],
            seconds=OLD_PODS_SECONDS,
        )
        until("the Kubernetes gateway answers", lambda: answers(Backend.KUBERNETES), seconds=ANSWER_SECONDS)


def _with_files(template: Object, config_map: str, keys: dict[str, str]) -> Object:
    """Return a template of pods with files of a ConfigMap; ``keys``: path in the container -> key."""
    made = copy.deepcopy(template)
    made["spec"].setdefault("volumes", []).append({"name": CONFIG_MAP, "configMap": {"name": config_map}})
    mounts = made["spec"]["containers"][0].setdefault("volumeMounts", [])
    mounts += [{"name": CONFIG_MAP, "mountPath": path, "subPath": key, "readOnly": True} for path, key in keys.items()]
    return made


class ObjectEdit(Removal):
    """Change an object by a JSON patch, or delete it (no operations)."""

    def __init__(self, kind: str, name: str, *operations: Object, namespace: str | None = None) -> None:
        self._kind, self._name, self._operations, self._namespace = kind, name, operations, namespace

    @property
    def _saved(self) -> Path:
        return SAVED / f"{self._kind}-{self._name}.json"

    def remove(self) -> None:
        """Save the object, and change or delete it."""
        listing = ("get", self._kind, self._name, "--show-managed-fields", "--output", "json")
        _save(self._saved, json.loads(self._kubectl(*listing)))
        if self._operations:
            self._kubectl("patch", self._kind, self._name, "--type=json", "--patch", json.dumps(self._operations))
        else:
            self._kubectl("delete", self._kind, self._name)

    def restore(self) -> None:
        """Replace the object by the saved one, or create it with its former field manager, which is Pulumi."""
        if not self._saved.exists():
            return
        saved = json.loads(self._saved.read_text())
        metadata = {key: value for key, value in saved["metadata"].items() if key not in SERVER_FIELDS}
        made = {key: value for key, value in saved.items() if key != "status"}
        if self._kubectl("get", self._kind, self._name, "--ignore-not-found", "--output", "name"):
            _send({**made, "metadata": metadata}, "replace", "--filename=-", namespace=self._namespace)
        else:
            managers = [item["manager"] for item in metadata.pop("managedFields", ()) if item["operation"] == "Apply"]
            manager = f"--field-manager={(managers or ['kubectl'])[0]}"
            applying = ("apply", "--server-side", "--force-conflicts", manager, "--filename=-")
            _send({**made, "metadata": metadata}, *applying, namespace=self._namespace)
        self._saved.unlink()

    def _kubectl(self, *arguments: str) -> str:
        return cluster.kubectl(*_namespaced(self._namespace), *arguments)


class ObjectAdded(Removal):
    """Add an object that opens what a defence closes, for example a NetworkPolicy that allows everything."""

    def __init__(self, manifest: Object, *namespaces: str) -> None:
        self._manifest, self._namespaces = manifest, namespaces

    def remove(self) -> None:
        """Create the object in each of the namespaces."""
        for namespace in self._namespaces:
            _send(self._manifest, "apply", "--filename=-", namespace=namespace)

    def restore(self) -> None:
        """Delete the object."""
        kind, name = self._manifest["kind"], self._manifest["metadata"]["name"]
        for namespace in self._namespaces:
            cluster.kubectl("--namespace", namespace, "delete", kind, name, "--ignore-not-found")


def _save(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def _send(manifest: Object, *arguments: str, namespace: str | None) -> None:
    process.say(cluster.kubectl(*_namespaced(namespace), *arguments, standard_input=json.dumps(manifest)))


def _namespaced(namespace: str | None) -> tuple[str, ...]:
    return () if namespace is None else ("--namespace", namespace)
