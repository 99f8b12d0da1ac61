"""Accounts, claims, a directory and a clock that several test modules of this room use."""

from gateway.identity.accounts import Account
from gateway.identity.directory import DirectoryUnavailable

ENV = {"NB_UID": "30002", "NB_GID": "30000", "SECRET": "f3b1c0ffee"}
ERIN = Account("paf1002", 30002, 30000, ())


class RecordingDirectory:
    """A directory that records its look-ups, and that a test can take down."""

    def __init__(self, of_uid=ERIN):
        self.asked, self.up, self._of_uid = [], True, of_uid

    async def account(self, name):
        return self._answer(name)

    async def account_of_uid(self, uid):
        self._answer(uid)
        return self._of_uid

    def _answer(self, key):
        self.asked.append(key)
        if not self.up:
            raise DirectoryUnavailable("no answer")
        return Account(str(key), 20000 + len(self.asked), 20000, ())
