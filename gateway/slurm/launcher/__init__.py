"""Program that acts as a user on SLURM's submission host: a closed list of actions.

The server starts it by ``sudo`` and ``python -I -m gateway.slurm.launcher``. It imports little, and only the standard
library, because each call pays for its imports.

A request is JSON on standard input. The answer is always JSON on standard output: ``{"ok": true, ...}``,
``{"ok": false, "refusal": text}`` with a text for the user, or ``{"ok": false, "error": text}``. A file that only root
writes limits the program: :data:`gateway.slurm.launcher.requests.CONFIGURATION`.
"""
