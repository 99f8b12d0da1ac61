"""Remove a defence on the submission host of SLURM: edit installed modules, units and files of configuration."""

from gateway.site import Backend
from release import process
from testbed import docker, submission
from testbed.waiting import until
from tests.e2e.defences.removal import FIND, Edit, Removal
from tests.e2e.fetching import answers
from tests.e2e.machines import SETTINGS

SUFFIX = ".defended"
"""End of the name of the saved copy beside an edited file."""
ANSWER_SECONDS = 60


def on_host(*command: str, standard_input: str | None = None) -> str:
    """Run a program on the submission host as root, and return its output."""
    return docker.execute(submission.CONTAINER, command, standard_input=standard_input)


class HostEdits(Removal):
    """Edit files on the submission host, then restart units that read them."""

    def __init__(self, *edits: Edit, restart: tuple[str, ...] = ()) -> None:
        self._edits, self._units = edits, restart

    @property
    def edits(self) -> tuple[Edit, ...]:
        """The edits."""
        return self._edits

    def remove(self) -> None:
        """Make the edits, each beside a copy of its file, and restart the units."""
        for edit in self._edits:
            path = self._path(edit)
            # A file with several edits is saved once, by the first of them.
            if not self._is_saved(path):
                on_host("cp", "--preserve=all", path, path + SUFFIX)
            on_host("tee", path, standard_input=edit.applied(on_host("cat", path)))
        self._restart()

    def restore(self) -> None:
        """Move the copies back and restart the units."""
        saved = [path for path in dict.fromkeys(map(self._path, self._edits)) if self._is_saved(path)]
        for path in saved:
            on_host("mv", path + SUFFIX, path)
        if saved:
            self._restart()

    def _path(self, edit: Edit) -> str:
        if edit.installed is not None:
            return edit.installed
        python = f"{SETTINGS.slurm.install_directory}/bin/python"
        return on_host(python, "-I", "-c", FIND, edit.module).strip()

    def _is_saved(self, path: str) -> bool:
        return process.succeeds(["docker", "exec", submission.CONTAINER, "test", "-e", path + SUFFIX])

    def _restart(self) -> None:
        on_host("systemctl", "daemon-reload")
        if self._units:
            on_host("systemctl", "reset-failed")
            on_host("systemctl", "restart", *self._units)
        until("the SLURM gateway answers", lambda: answers(Backend.SLURM), seconds=ANSWER_SECONDS)
