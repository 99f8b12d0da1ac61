"""Remove the gateway's defences in the running testbed, one by one, and see that the end-to-end tests notice each.

``make breaks`` shows that a test of an attack can fail: for each entry of :mod:`tests.e2e.defences.catalogue`, it
removes the defence, runs the tests that attack it, and expects each to fail by its own assertion. Then it restores the
defence and expects the tests to pass. :mod:`tests.e2e.defences.host` and :mod:`tests.e2e.defences.kubernetes` hold the
ways of removal, :mod:`tests.e2e.defences.runs` runs the tests.
"""
