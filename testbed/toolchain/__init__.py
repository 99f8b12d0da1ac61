"""The programs that the testbed needs on this machine: Docker's engine, Go, kind, kubectl and three of Pulumi's.

The testbed takes each program from the first of these: the machine, when its version fits
(:mod:`testbed.toolchain.versions`); Debian's package (:mod:`testbed.toolchain.debian`); a build from its Go module
(:mod:`testbed.toolchain.go`), cached by content.
"""
