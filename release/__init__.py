"""What administrators build for a site: wheels, the bundle that Ansible installs, and the gateway's images.

The testbed builds its own by the same modules, so nothing here imports ``testbed``.
"""
