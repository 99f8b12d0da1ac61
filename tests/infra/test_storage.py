"""PersistentVolumes and claims of the storage table."""

import pytest

from gateway.site import Access, Backend


def test_claims_are_bound_to_their_volumes_and_back(testbed):
    for name, volume in testbed.of_kind("PersistentVolume").items():
        reference = volume["spec"]["claimRef"]
        claim = testbed.get("PersistentVolumeClaim", reference["name"])
        assert claim["spec"]["volumeName"] == name
        assert claim["metadata"]["namespace"] == reference["namespace"]
        assert claim["spec"]["accessModes"] == volume["spec"]["accessModes"]
        assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"


def test_each_kind_of_source(geddes):
    volumes = geddes.of_kind("PersistentVolume")
    depot, eos = volumes["cms-dask-dask-gateway-k8s-depot"]["spec"], volumes["cms-dask-dask-gateway-k8s-eos"]["spec"]
    assert depot["nfs"] == {"server": "datadepot.rcac.purdue.edu", "path": "/depot/cms", "readOnly": False}
    assert eos["hostPath"] == {"path": "/eos/purdue", "type": "Directory"}
    claims = geddes.of_kind("PersistentVolumeClaim")
    assert claims["dask-gateway-k8s-cvmfs"]["spec"]["storageClassName"] == "cvmfs"
    assert set(claims) == {f"dask-gateway-k8s-{name}" for name in ("depot", "cvmfs", "eos")}, "/work's claim exists"


@pytest.mark.weakness(21)
def test_what_nobody_writes_is_read_only(manifests, any_site):
    for volume in any_site.storage:
        claim = manifests.of_kind("PersistentVolumeClaim").get(f"{any_site.kubernetes.release}-{volume.name}")
        if claim is not None:
            writable = Access.READ_WRITE in volume.access[Backend.KUBERNETES].values()
            assert claim["spec"]["accessModes"] == ["ReadWriteMany" if writable else "ReadOnlyMany"]
