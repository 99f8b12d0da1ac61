"""Program that acts as a user on SLURM's submission host: a closed list of actions.

systemd starts it for each connection to a socket that only the server's account may open, as ``python -I -m
gateway.slurm.launcher`` (ansible/roles/gateway). It begins as root without any capability but those to change its
account, becomes the user, and acts. It runs no program of the user. Before it becomes the user to start a cluster, it
asks JupyterHub whose the request's token is. It imports little, and only the standard library, because each call pays
for its imports.

A request is JSON up to the end of the connection's input. The answer is always one line of JSON: ``{"ok": true, ...}``,
``{"ok": false, "refusal": text}`` with a text for the user, ``{"ok": false, "hub": text}`` for a fault of JupyterHub,
or ``{"ok": false, "error": text}``. A file that only root writes limits the program:
:data:`gateway.slurm.launcher.requests.CONFIGURATION`.
"""
