"""The programs that the testbed needs on this machine: Docker's engine, Go, kind, kubectl and Pulumi's trio.

For each: the one that is installed when its version fits (:mod:`testbed.toolchain.versions`), else Debian's package
(:mod:`testbed.toolchain.debian`), else a build from its Go module (:mod:`testbed.toolchain.go`), cached by content.
"""
