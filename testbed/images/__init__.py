"""The testbed's container images; :mod:`testbed.images.table` lists them."""
