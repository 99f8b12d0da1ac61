"""Code that runs as the user, in the user's interpreter: standard library only, Python >= 3.8, no import of ours.

The pods' image and the launcher copy these files, without the rest of the package :mod:`gateway`.
"""
