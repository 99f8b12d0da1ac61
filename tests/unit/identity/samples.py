"""Accounts, claims and a directory that several test modules of this room use."""

from gateway.identity.accounts import Account
from gateway.identity.directory import DirectoryUnavailable

ENV = {"NB_UID": "30002", "NB_GID": "30000", "SECRET": "f3b1c0ffee"}
ERIN = Account("paf1002", 30002, 30000, ())


class RecordingDirectory:
    """A directory that records its look-ups, and that a test can take down."""

    def __init__(self, pool_account=ERIN):
        self.asked, self.up, self._pool_account = [], True, pool_account

    async def account(self, name):
        return self._answer(name)

    async def pool_account(self, uid):
        self._answer(uid)
        return self._pool_account

    def _answer(self, key):
        self.asked.append(key)
        if not self.up:
            raise DirectoryUnavailable("no answer")
        return Account(str(key), 20000 + len(self.asked), 20000, ())
