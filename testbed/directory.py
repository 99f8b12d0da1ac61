"""The LDAP directory: a container with OpenLDAP behind TLS, and the entries of people and groups."""

from collections.abc import Iterator, Mapping
from urllib.parse import urlsplit

from gateway import site
from release import content, process
from testbed import certificates, docker, people, waiting
from testbed.certificates import certificate_authority
from testbed.images.table import DIRECTORY
from testbed.paths import SITE, STATE

__all__ = ["certificate_authority", "ensure_directory"]

CONTAINER = "af-directory"
ADDRESS = "172.30.0.11"
CONFIGURATION = STATE / "directory" / "slapd.conf"
# Root in the directory's container authenticates over its local socket, so no password exists.
ADMINISTRATOR = "gidNumber=0+uidNumber=0,cn=peercred,cn=external,cn=auth"
LOCAL = ("-Q", "-Y", "EXTERNAL", "-H", "ldapi:///")
READY_SECONDS = 30

Attributes = Mapping[str, tuple[str, ...]]
Entries = Mapping[str, Attributes]
"""Distinguished name -> attributes, parents before children."""


def ensure_directory() -> None:
    """Bring up the directory, with exactly the entries that the list of people gives."""
    settings = site.load(SITE).identity.directory
    host = urlsplit(settings.url).hostname
    if host is None:
        raise ValueError(f"{SITE}: identity.directory.url {settings.url!r} names no host")
    certificate, key = certificates.server_certificate(host)
    _write_configuration(_base(settings))
    docker.ensure_network()
    docker.ensure_container(
        docker.Container(
            CONTAINER,
            DIRECTORY.ensure(),
            address=ADDRESS,
            aliases=(host,),
            mounts={
                CONFIGURATION: "/run/directory/slapd.conf:ro",
                certificate: "/run/directory/server.crt:ro",
                key: "/run/directory/server.key:ro",
            },
            # Every service resolves its users here; many starting workers must not starve it.
            options=("--cpu-shares", "4096"),
            inputs=(content.digest(CONFIGURATION, certificate, key),),
        )
    )
    waiting.until("the directory answers", _answers, seconds=READY_SECONDS)
    _synchronise(entries(people.load(), settings), _base(settings))


def _base(settings: site.Directory) -> str:
    """Return the base that people and groups have in common."""
    return settings.people_base.split(",", 1)[1]


def _write_configuration(base: str) -> None:
    CONFIGURATION.parent.mkdir(parents=True, exist_ok=True)
    CONFIGURATION.write_text(configuration(base))


def configuration(base: str) -> str:
    """Return the text of slapd.conf."""
    return "\n".join(
        [
            *(f"include /etc/ldap/schema/{schema}.schema" for schema in ("core", "cosine", "nis")),
            "modulepath /usr/lib/ldap",
            "moduleload back_mdb",
            "pidfile /run/slapd/slapd.pid",
            "TLSCertificateFile /etc/ldap/server.crt",
            "TLSCertificateKeyFile /etc/ldap/server.key",
            "TLSProtocolMin 3.3",
            "database mdb",
            f'suffix "{base}"',
            f'rootdn "{ADMINISTRATOR}"',
            "directory /var/lib/ldap",
            "index objectClass,uid,uidNumber,gidNumber,cn,memberUid eq",
            "access to * by * read",
            "",
        ]
    )


def entries(everybody: people.People, settings: site.Directory) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the directory's wanted content: RFC 2307 accounts and groups."""
    base = _base(settings)
    (component,) = base.split(",")[:1]
    name = component.split("=")[1]
    wanted: dict[str, dict[str, tuple[str, ...]]] = {
        base: {"objectClass": ("dcObject", "organization"), "dc": (name,), "o": (name,)}
    }
    for place in (settings.people_base, settings.groups_base):
        unit = place.split(",", 1)[0].split("=")[1]
        wanted[place] = {"objectClass": ("organizationalUnit",), "ou": (unit,)}
    for group in everybody.groups:
        members = tuple(account.name for account in everybody.members(group.name))
        wanted[f"cn={group.name},{settings.groups_base}"] = {
            "objectClass": ("posixGroup",),
            "cn": (group.name,),
            "gidNumber": (str(group.gid),),
            **({"memberUid": members} if members else {}),
        }
    for account in everybody.accounts:
        wanted[f"uid={account.name},{settings.people_base}"] = {
            "objectClass": ("account", "posixAccount"),
            "uid": (account.name,),
            "cn": (account.name,),
            "uidNumber": (str(account.uid),),
            "gidNumber": (str(everybody.gid(account.group)),),
            "homeDirectory": (account.home,),
            "loginShell": ("/bin/bash",),
        }
    return wanted


def changes(wanted: Entries, present: Entries) -> str:
    """Return the LDIF change records that turn the present entries into the wanted ones; empty when they agree."""
    return "\n".join(f"{record}\n" for record in _records(wanted, present))


def _records(wanted: Entries, present: Entries) -> Iterator[str]:
    for name in sorted(present.keys() - wanted.keys(), key=lambda name: -name.count(",")):
        yield f"dn: {name}\nchangetype: delete"
    for name, attributes in wanted.items():
        lines = [f"{attribute}: {value}" for attribute, values in attributes.items() for value in values]
        if name not in present:
            yield "\n".join([f"dn: {name}", "changetype: add", *lines])
        elif _comparable(attributes) != _comparable(present[name]):
            replaced = dict.fromkeys([*present[name], *attributes], ())
            yield "\n".join([f"dn: {name}", "changetype: modify", *_replacements({**replaced, **attributes})])


def _replacements(attributes: Attributes) -> Iterator[str]:
    for attribute, values in attributes.items():
        yield f"replace: {attribute}"
        yield from (f"{attribute}: {value}" for value in values)
        yield "-"


def _comparable(attributes: Attributes) -> dict[str, list[str]]:
    return {attribute: sorted(values) for attribute, values in attributes.items() if values}


def parsed(text: str) -> dict[str, dict[str, tuple[str, ...]]]:
    """Return the entries in the output of ``ldapsearch -LLL -o ldif-wrap=no`` (plain values only, as ours are)."""
    found: dict[str, dict[str, tuple[str, ...]]] = {}
    for block in text.split("\n\n"):
        lines = [line.split(": ", 1) for line in block.splitlines() if ": " in line]
        if lines:
            attributes = found.setdefault(lines[0][1], {})
            for attribute, value in lines[1:]:
                attributes[attribute] = (*attributes.get(attribute, ()), value)
    return found


def _answers() -> bool:
    return process.succeeds(["docker", "exec", CONTAINER, "ldapwhoami", *LOCAL])


def _synchronise(wanted: Entries, base: str) -> None:
    present = parsed(_present(base))
    records = changes(wanted, present)
    process.say(records or f"the directory has its {len(wanted)} entries")
    if records:
        docker.execute(CONTAINER, ["ldapmodify", *LOCAL], standard_input=records)


def _present(base: str) -> str:
    try:
        return docker.execute(CONTAINER, ["ldapsearch", *LOCAL, "-LLL", "-o", "ldif-wrap=no", "-b", base])
    except process.CommandError as error:
        if error.code == 32:  # no such object: nothing is loaded yet
            return ""
        raise
