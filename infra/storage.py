"""PersistentVolumes and claims of the storage table. Pod Security "restricted" allows pods only claims, no NFS or
hostPath volumes."""

from typing import Any

import pulumi
from pulumi_kubernetes.core.v1 import PersistentVolume, PersistentVolumeClaim

from gateway.kubernetes import names
from gateway.site import Access, Backend, HostPathSource, NfsSource, Site, StorageClassSource, Volume

NOMINAL_SIZE = "1Gi"
"""Size in PersistentVolumes and claims. Kubernetes requires one, and NFS and directories of a node have none."""


class Storage(pulumi.ComponentResource):
    """A claim for each volume with a source on Kubernetes, and a PersistentVolume unless a storage class provisions it.

    A volume whose claim exists already (``kind: claim``) gets neither.
    """

    def __init__(
        self, name: str, site: Site, namespace: pulumi.Input[str], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("af-dask-gateway:infra:Storage", name, {}, opts)
        self._site, self._namespace = site, namespace
        self.volumes: dict[str, PersistentVolume] = {}
        self.claims: dict[str, PersistentVolumeClaim] = {}
        for volume in site.storage:
            if isinstance(volume.kubernetes, NfsSource | HostPathSource):
                self.volumes[volume.name] = self._volume(volume, volume.kubernetes)
                self.claims[volume.name] = self._claim(volume, "", self.volumes[volume.name])
            elif isinstance(volume.kubernetes, StorageClassSource):
                self.claims[volume.name] = self._claim(volume, volume.kubernetes.storage_class, None)
        self.register_outputs({})

    def _volume(self, volume: Volume, source: NfsSource | HostPathSource) -> PersistentVolume:
        gateway = self._site.kubernetes
        # PersistentVolumes have no namespace, so the prefix keeps the volumes of two gateways apart.
        name = f"{gateway.clusters_namespace}-{names.claim_name(self._site, volume)}"
        return PersistentVolume(
            name,
            metadata={"name": name, "labels": names.common_labels(gateway.release)},
            spec={
                "capacity": {"storage": NOMINAL_SIZE},
                "access_modes": _access_modes(volume),
                "persistent_volume_reclaim_policy": "Retain",
                "storage_class_name": "",
                "claim_ref": {
                    "api_version": "v1",
                    "kind": "PersistentVolumeClaim",
                    "namespace": gateway.clusters_namespace,
                    "name": names.claim_name(self._site, volume),
                },
                **_source(volume, source),
            },
            # Kubernetes allows no change of a volume's source, and the new volume has the old one's name.
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
        )

    def _claim(self, volume: Volume, storage_class: str, under: PersistentVolume | None) -> PersistentVolumeClaim:
        name = names.claim_name(self._site, volume)
        static = {} if under is None else {"volume_name": under.metadata.apply(lambda metadata: metadata.name)}
        return PersistentVolumeClaim(
            name,
            metadata={
                "name": name,
                "namespace": self._namespace,
                "labels": names.common_labels(self._site.kubernetes.release),
            },
            spec={
                "access_modes": _access_modes(volume),
                "resources": {"requests": {"storage": NOMINAL_SIZE}},
                "storage_class_name": storage_class,
                **static,
            },
            opts=pulumi.ResourceOptions(parent=self, delete_before_replace=True),
        )


def _read_only(volume: Volume) -> bool:
    return Access.READ_WRITE not in volume.access.get(Backend.KUBERNETES, {}).values()


def _access_modes(volume: Volume) -> list[str]:
    return ["ReadOnlyMany" if _read_only(volume) else "ReadWriteMany"]


def _source(volume: Volume, source: NfsSource | HostPathSource) -> dict[str, Any]:
    if isinstance(source, HostPathSource):
        # "Directory" keeps a pod from starting when the path is missing on the node.
        return {"host_path": {"path": source.path, "type": "Directory"}}
    return {"nfs": {"server": source.server, "path": source.path, "read_only": _read_only(volume)}}
