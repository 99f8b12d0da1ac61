"""The parsing of squeue's and sacct's output."""

import pytest
from dask_gateway_server.backends.jobqueue import slurm

from gateway.slurm import jobs


@pytest.mark.parametrize(
    ("said", "end"),
    [
        ("OUT_OF_MEMORY|0:125\n", "OUT_OF_MEMORY, exit code 0:125"),
        ("CANCELLED by 20001|0:15\n", "CANCELLED, exit code 0:15"),
        ("RUNNING|0:0\n", None),
        ("", None),
    ],
)
def test_accounting_tells_how_a_job_ended(said, end):
    assert jobs.end_of(said) == end


def test_upstream_takes_suspended_jobs_for_ended():
    """The bug that ``gateway.slurm.jobs.ENDED`` avoids."""
    assert slurm.SlurmBackend.parse_job_states(None, "1 S\n2 RQ\n3 R\n") == {"1": False, "2": False, "3": True}
