"""Test what the hosts of the testbed's SLURM cluster get: configuration, storage, environments."""

import configparser
import stat
from pathlib import PurePosixPath

from testbed import people, slurm, storage


def settings_of(text):
    return dict(line.split("=", 1) for line in text.splitlines())


def test_configuration_has_the_names_of_the_site(testbed_site):
    text = slurm.slurm_configuration(testbed_site)
    assert settings_of(text)["ClusterName"] == "hammer"
    assert "PartitionName=hammer-nodes Nodes=hammer-a000,hammer-a001 " in text


def test_accounting_is_enforced_and_has_no_password(testbed_site):
    assert "associations" in settings_of(slurm.slurm_configuration(testbed_site))["AccountingStorageEnforce"]
    assert "StoragePass" not in slurm._ACCOUNTING_CONFIGURATION


def test_directory_client_verifies_the_directory(testbed_site):
    parser = configparser.ConfigParser()
    parser.read_string(slurm.sssd_configuration(testbed_site))
    domain = parser["domain/directory"]
    assert domain["ldap_uri"] == "ldaps://directory"
    assert domain["ldap_tls_reqcert"] == "demand"
    assert domain["ldap_tls_cacert"] == testbed_site.identity.directory.ca_file
    assert domain["ldap_user_search_base"] == "ou=People,dc=rcac,dc=purdue,dc=edu"


def test_nodes_see_the_storage_table(testbed_site):
    assert set(slurm.node_mounts(testbed_site).values()) == {"/depot/cms", "/cvmfs:ro", "/eos/purdue:ro"}


def test_entries_come_after_the_directories_that_they_are_in(testbed_site):
    roots = {volume.path for volume in testbed_site.storage}
    known = set()
    for entry in storage.entries(testbed_site, people.load()):
        assert entry.path in roots or str(PurePosixPath(entry.path).parent) in known
        known.add(entry.path)


def test_people_own_their_directories_and_others_see_nothing(testbed_site):
    by_path = {entry.path: entry for entry in storage.entries(testbed_site, people.load())}
    for path, uid in (("/depot/cms/users/alice", 20001), ("/work/users/dave-cern", 30001)):
        assert by_path[path].uid == uid
        assert stat.S_IMODE(by_path[path].mode) & 0o077 == 0
    assert "/depot/cms/users/dave-cern" not in by_path
    assert not any("mallory" in path for path in by_path)


def test_each_volume_has_its_marker(testbed_site):
    paths = {entry.path for entry in storage.entries(testbed_site, people.load())}
    assert {f"{volume.path}/{volume.marker}" for volume in testbed_site.storage} <= paths


def test_environments_are_of_pixi_and_conda(testbed_site):
    prefixes = [environment.prefix for environment in storage.environments()]
    assert "/depot/cms/projects/analysis/.pixi/envs/my-env" in prefixes
    assert "/depot/cms/conda/analysis" in prefixes
    paths = {entry.path for entry in storage.entries(testbed_site, people.load())}
    for prefix in prefixes:
        project, separator, _ = prefix.partition("/.pixi/")
        assert not separator or f"{project}/pixi.toml" in paths
