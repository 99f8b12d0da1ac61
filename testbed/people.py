"""The people of the testbed, their accounts and groups, as ``people.yaml`` lists them."""

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Annotated, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

FILE = Path(__file__).resolve().parent / "people.yaml"

AccountName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*$")]
PersonName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9*()=-]*$", description="names that attack a filter too")]
PosixId = Annotated[int, Field(ge=1000)]


class Model(BaseModel):
    """Base of every section: refuses unknown keys; values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Group(Model):
    """A group of the directory."""

    name: AccountName
    gid: PosixId


class Account(Model):
    """An account of the directory."""

    name: AccountName
    uid: PosixId
    group: AccountName
    """Primary group."""
    supplementary_groups: tuple[AccountName, ...] = ()

    @property
    def home(self) -> str:
        """Home directory, on hosts that have one."""
        return f"/home/{self.name}"


class Person(Model):
    """A person with a login of the JupyterHub."""

    name: PersonName
    """Login of the JupyterHub, with the suffix of the user class."""
    account: AccountName | None = None
    """The account that they work with; None for a person who is in no list."""
    is_administrator: bool = False
    """Whether the person administrates JupyterHub."""


class People(Model):
    """All people, with accounts and groups."""

    groups: tuple[Group, ...]
    accounts: tuple[Account, ...]
    people: tuple[Person, ...]

    def account(self, name: str) -> Account:
        """Return the account of that name. Raises ``KeyError``."""
        return {account.name: account for account in self.accounts}[name]

    def account_of(self, person: Person) -> Account | None:
        """Return the account that a person works with, if any."""
        return self.account(person.account) if person.account else None

    def gid(self, group: str) -> int:
        """Return the gid of a group. Raises ``KeyError``."""
        return {entry.name: entry.gid for entry in self.groups}[group]

    def members(self, group: str) -> tuple[Account, ...]:
        """Return the accounts for which the group is supplementary."""
        return tuple(account for account in self.accounts if group in account.supplementary_groups)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        numbers_and_names: dict[str, list[str | int]] = {
            "group name": [group.name for group in self.groups],
            "gid": [group.gid for group in self.groups],
            "account name": [account.name for account in self.accounts],
            "uid": [account.uid for account in self.accounts],
            "person": [person.name for person in self.people],
        }
        for kind, values in numbers_and_names.items():
            _refuse(kind, "stands twice", {value for value in values if values.count(value) > 1})
        used = {name for account in self.accounts for name in (account.group, *account.supplementary_groups)}
        _refuse("group", "is used and not listed", used - {group.name for group in self.groups})
        lent = {person.account for person in self.people if person.account}
        _refuse("account", "is used and not listed", lent - {account.name for account in self.accounts})
        return self


def _refuse(kind: str, reason: str, values: Iterable[object]) -> None:
    for value in sorted(map(str, values)):
        raise ValueError(f"{kind} {value} {reason}")


@cache
def load(path: Path = FILE) -> People:
    """Read the list. Raises ``pydantic.ValidationError`` that names what does not fit."""
    return People.model_validate(yaml.safe_load(path.read_text()))
