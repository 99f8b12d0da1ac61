"""Jobs as SLURM prints them, hostile ones included."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.slurm import jobs
from gateway.slurm.jobs import Job, Owner
from tests.unit.hostile import many, text
from tests.unit.slurm.world import listed, owned

STAGING = "/depot/cms/users/{username}/.dask-gateway"
RELEASE = "dask-gateway-k8s-slurm"
ALICE = Owner("0" * 32, "alice", 20001, 20000)
rows = st.builds(
    lambda number, task, state, uid: listed(f"{number}{task}", state, uid),
    st.integers(0, 10**12 - 1),
    st.sampled_from(["", "_0", "_999"]),
    st.sampled_from(["RUNNING", "PENDING", "FAILED"]),
    st.integers(0, 2**32 - 2),
)
lines = st.one_of(st.tuples(st.just("row"), rows), st.tuples(st.just("other"), text.map("{}\n".format)))
"""Lines of squeue's output, of which only rows are jobs."""


@many
@given(printed=st.lists(lines, max_size=5))
@example(printed=[("row", "17|RUNNING|20001\n"), ("other", "x|None\n17|RUNNING|alice|20001|20000|r/c|None\n")])
@example(
    printed=[("other", "17|RUNNING|20001\0\n"), ("other", " 17|RUNNING|20001\n"), ("other", "17|RUNNING|20001|\n")]
)
def test_lines_that_are_no_rows_change_no_row(printed):
    output = "".join(line for _, line in printed)
    queue = jobs.parsed(output)
    assert {line.split("|")[0] for kind, line in printed if kind == "row"} <= queue.jobs.keys()
    for number, job in queue.jobs.items():
        assert listed(number, job.state, job.uid) in output


def test_only_whole_rows_count():
    output = (
        listed("1", "RUNNING")
        + "2|RUNNING|20001|x\n 3|RUNNING|20001\n4|running|1\n5|RUNNING|\u0661\n\r\n6_*|PENDING|1\n"
    )
    assert jobs.parsed(output) == jobs.Queue({"1": Job("RUNNING", 20001)}, dropped=6)


@many
@given(said=text)
@example(said="(Resources)\n17|RUNNING|20001")
@example(said="\x1b[31m" * 1000)
def test_a_reason_is_one_short_line_of_printable_characters(said):
    reason = jobs.reason_of(said)
    assert 0 < len(reason) <= jobs.MOST_REASON
    assert reason.isprintable()
    assert reason.isascii()


@many
@given(comment=text, folder=text)
@example(comment=RELEASE, folder=f"{STAGING.format(username='alice')}/{'0' * 32}")
@example(comment=f"{RELEASE}|{STAGING.format(username='alice')}/{'0' * 32}", folder="/x")
@example(comment=f"{RELEASE}\n20001|20000|alice|{RELEASE}", folder=f"{STAGING.format(username='alice')}/{'0' * 32}")
def test_a_job_has_no_other_owner_than_its_user(comment, folder):
    """Bob chooses comment and working directory; SLURM prints uid, gid and account before them."""
    owner = jobs.owner_of(f"20002|20000|bob|{comment}|{folder}\n", RELEASE, STAGING)
    assert owner is None or (owner.uid, owner.gid, owner.username) == (20002, 20000, "bob")


def test_the_owner_of_a_job_of_this_gateway():
    assert jobs.owner_of(owned(ALICE.cluster, RELEASE), RELEASE, STAGING) == ALICE
    assert jobs.owner_of(owned(ALICE.cluster, "another"), RELEASE, STAGING) is None
    assert jobs.owner_of(owned("logs", RELEASE), RELEASE, STAGING) is None
    assert jobs.owner_of("", RELEASE, STAGING) is None


@pytest.mark.parametrize(
    ("said", "node"),
    [
        ("20001|RUNNING|hammer-a000\n", "hammer-a000"),
        ("20001|PENDING|\n", None),
        ("20001|RUNNING|\n", None),
        ("20002|RUNNING|hammer-a000\n", None),
        ("20001|RUNNING|hammer-a[000-001]\n", None),
        ("20001|RUNNING|hammer-a000\n20001|RUNNING|hammer-a001\n", None),
        ("", None),
    ],
)
def test_the_node_of_a_running_job(said, node):
    assert jobs.node_of(said, ALICE) == node


@many
@given(said=text)
@example(said="FAILED|0:1\nRUNNING|0:0")
@example(said="CANCELLED by 20001|0:15\n")
@example(said="FAILED|x\n")
def test_an_end_is_a_state_and_an_exit_code(said):
    end = jobs.end_of(said)
    assert end is None or end.isprintable()


def test_ends():
    assert jobs.end_of("CANCELLED by 20001|0:15\n") == "CANCELLED, exit code 0:15"
    assert jobs.end_of("RUNNING|0:0\n") is None
    assert jobs.end_of("FAILED|<script>\n") is None


def test_jobs_that_no_record_knows():
    known = jobs.parsed(
        listed("1", "RUNNING") + listed("2_0", "PENDING") + listed("2_1", "PENDING") + listed("3", "FAILED")
    ).jobs
    assert jobs.unrecorded(known, {"1"}) == {20001: {"2": ["2_0", "2_1"]}}
