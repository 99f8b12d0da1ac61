"""Test the directory's entries, and the LDIF records that bring an LDAP server to them."""

import pytest
from pydantic import ValidationError

from testbed import directory, people

PERSON = "uid=alice,ou=People,dc=rcac,dc=purdue,dc=edu"


@pytest.fixture
def settings(testbed_site):
    return testbed_site.identity.directory


@pytest.fixture
def wanted(settings):
    return directory.entries(people.load(), settings)


def answer(entries):
    """Return entries in the format of ``ldapsearch -LLL``."""
    blocks = (
        "\n".join([f"dn: {name}", *(f"{key}: {value}" for key, values in attributes.items() for value in values)])
        for name, attributes in entries.items()
    )
    return "\n\n".join(blocks) + "\n\n"


def test_accounts_are_posix_accounts(wanted):
    assert wanted[PERSON]["uidNumber"] == ("20001",)
    assert wanted[PERSON]["gidNumber"] == ("20000",)
    assert wanted["cn=cms,ou=Groups,dc=rcac,dc=purdue,dc=edu"]["memberUid"] == ("alice", "bob")
    assert not any("mallory" in name for name in wanted)


def test_parents_come_before_what_is_in_them(wanted):
    names = list(wanted)
    for index, name in enumerate(names[1:], 1):
        assert name.split(",", 1)[1] in names[:index]


def test_answers_are_read_back(wanted):
    assert directory.parsed(answer(wanted)) == wanted


def test_nothing_is_sent_when_nothing_differs(wanted):
    shuffled = {name: {key: values[::-1] for key, values in attributes.items()} for name, attributes in wanted.items()}
    assert directory.changes(wanted, shuffled) == ""


def test_missing_entries_are_added(wanted):
    present = {name: attributes for name, attributes in wanted.items() if name != PERSON}
    records = directory.changes(wanted, present)
    assert records.startswith(f"dn: {PERSON}\nchangetype: add\n")
    assert records.count("changetype") == 1


def test_differing_attributes_are_replaced_and_unwanted_ones_removed(wanted):
    present = {**wanted, PERSON: {**wanted[PERSON], "uidNumber": ("1",), "description": ("old",)}}
    records = directory.changes(wanted, present)
    assert records.count("changetype") == 1
    assert "replace: uidNumber\nuidNumber: 20001\n-" in records
    assert "replace: description\n-" in records


def test_unwanted_entries_go_children_first(wanted):
    extra = {"ou=Old,dc=rcac,dc=purdue,dc=edu": {}, "uid=x,ou=Old,dc=rcac,dc=purdue,dc=edu": {}}
    records = directory.changes(wanted, {**wanted, **extra})
    assert records.index("uid=x,ou=Old") < records.index("dn: ou=Old")
    assert records.count("changetype: delete") == 2


def test_plain_ldap_is_not_for_anonymous_writers(settings):
    text = directory.configuration("dc=rcac,dc=purdue,dc=edu")
    assert "rootpw" not in text
    assert "access to * by * read" in text
    assert settings.url.startswith("ldaps://")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"accounts": [{"name": "a", "uid": 2000, "group": "no"}]}, "group no is used and not listed"),
        ({"people": [{"name": "p", "account": "no"}]}, "account no is used and not listed"),
        ({"groups": [{"name": "g", "gid": 2000}, {"name": "h", "gid": 2000}]}, "gid 2000 stands twice"),
    ],
)
def test_inconsistent_people_are_refused(change, message):
    with pytest.raises(ValidationError, match=message):
        people.People.model_validate({"groups": [], "accounts": [], "people": [], **change})
