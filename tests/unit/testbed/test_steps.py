"""Test that steps run in order, side by side, and go on after a failure."""

import threading

import pytest

from release import process
from testbed import plan, steps
from testbed.steps import Step


@pytest.fixture(autouse=True)
def logs(tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "LOGS", tmp_path)
    return tmp_path


def test_a_step_runs_after_what_it_needs():
    order = []
    made = [Step(name, lambda name=name: order.append(name), needs) for name, needs in (("b", ("a",)), ("a", ()))]
    steps.run(made, lambda line: None)
    assert order == ["a", "b"]


def test_independent_steps_run_side_by_side():
    meeting = threading.Barrier(2, timeout=10)
    steps.run([Step("a", meeting.wait), Step("b", meeting.wait)], lambda line: None)


def test_a_failure_stops_what_follows_and_names_log_and_last_lines():
    ran = []

    def fail():
        process.say("about to break")
        raise RuntimeError("no disk")

    made = [Step("first", fail), Step("second", lambda: ran.append("second"), ("first",))]
    with pytest.raises(steps.StepError) as caught:
        steps.run(made, lambda line: None)
    assert ran == []
    text = steps.explain(caught.value)
    assert text.startswith("first failed: no disk\nlog: ")
    assert "about to break" in text


def test_steps_that_wait_for_each_other_are_a_mistake():
    with pytest.raises(ValueError, match="wait for each other"):
        steps.run([Step("a", int, ("b",)), Step("b", int, ("a",))], lambda line: None)


def test_select_takes_all_that_is_needed_in_the_given_order():
    made = [Step("a", int), Step("b", int), Step("c", int, ("a",)), Step("d", int, ("c",))]
    assert [step.name for step in steps.select(made, ["d"])] == ["a", "c", "d"]
    with pytest.raises(KeyError):
        steps.select(made, ["x"])


def test_only_load_tests_need_their_programs():
    assert "load-programs" not in plan.PARTS["all"]
    chosen = [step.name for step in steps.select(plan.STEPS, plan.PARTS["load-programs"])]
    assert chosen == ["load-programs"]


def test_no_part_of_the_stack_waits_for_a_node_that_a_load_test_has_closed():
    chosen = [step.name for step in steps.select(plan.STEPS, ["stack"])]
    assert chosen.index("cluster") < chosen.index("no-fake-nodes") < chosen.index("ingress")
