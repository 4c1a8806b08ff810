"""What to do next for a pod: tables, and laws that hold for any history."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from shirube.kubelet import labels, plan
from shirube.kubelet.plan import Held, Memory, Start, Unhealthy, Waiting
from shirube.kubelet.runtime_state import CREATED, EXITED, NANO, RUNNING, Container, PodRuntime, Sandbox

NOW = 1_000_000.0
BOX = Sandbox("box", 0, True, 1, ("10.0.0.1",))


def pod(*apps, init=(), policy="Always", ephemeral=(), status=None):
    return {
        "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
        "spec": {
            "containers": [{"name": name, "image": "i"} for name in apps],
            "initContainers": list(init),
            "ephemeralContainers": list(ephemeral),
            "restartPolicy": policy,
        },
        "status": status or {},
    }


def init(name, sidecar=False):
    return {"name": name, "image": "i", **({"restartPolicy": "Always"} if sidecar else {})}


def record(name, state=RUNNING, exit_code=0, attempt=0, sandbox="box", ended=NOW - 1):
    hash_ = labels.container_hash({"name": name, "image": "i"})
    finished = int(ended * NANO) if state == EXITED else 0
    return Container(
        f"{name}-{attempt}",
        name,
        attempt,
        state,
        sandbox,
        attempt,
        finished_at=finished,
        exit_code=exit_code,
        hash=hash_,
    )


def runtime(*containers, sandboxes=(BOX,)):
    newest_first = sorted(containers, key=lambda c: -c.attempt)
    return PodRuntime(tuple(sandboxes), tuple(newest_first))


def planned(pod, runtime, memory=None):
    return plan.plan(pod, runtime, memory or Memory(), NOW)


def test_a_new_pod_gets_a_sandbox_first():
    step = planned(pod("a"), runtime(sandboxes=()))
    assert (step.create_sandbox, step.start, step.kill_pod) == (0, [], False)


def test_then_all_its_containers():
    assert planned(pod("a", "b"), runtime()).start == [Start("app", "a", 0), Start("app", "b", 0)]


def test_a_dead_sandbox_is_replaced_and_what_ran_in_it_stopped():
    dead = Sandbox("box", 2, False, 1)
    step = planned(pod("a"), runtime(record("a"), sandboxes=(dead,)))
    assert (step.kill_pod, step.create_sandbox) == (True, 3)


def test_a_pod_that_never_restarts_ends_with_its_sandbox():
    dead = Sandbox("box", 0, False, 1)
    assert planned(pod("a", policy="Never"), runtime(record("a", EXITED, 137), sandboxes=(dead,))).finished


def test_init_containers_run_one_by_one_before_the_apps():
    p = pod("a", init=[init("i"), init("j")])
    assert planned(p, runtime()).start == [Start("init", "i", 0)]
    assert planned(p, runtime(record("i"))).idle
    assert planned(p, runtime(record("i", EXITED))).start == [Start("init", "j", 0)]
    both = runtime(record("i", EXITED), record("j", EXITED))
    assert planned(p, both).start == [Start("app", "a", 0)]


def test_a_failed_init_container_is_retried_or_fails_the_pod():
    failed = runtime(record("i", EXITED, 1))
    assert planned(pod("a", init=[init("i")]), failed).start == [Start("init", "i", 1)]
    assert planned(pod("a", init=[init("i")], policy="Never"), failed).finished


def test_init_containers_run_again_in_a_new_sandbox():
    p = pod("a", init=[init("i")])
    old = (record("i", EXITED, sandbox="old"), record("a", EXITED, sandbox="old"))
    assert planned(p, runtime(*old)).start == [Start("init", "i", 1)]


def test_a_sidecar_holds_up_what_follows_until_it_has_started():
    p = pod("a", init=[init("s", sidecar=True), init("i")])
    assert planned(p, runtime()).start == [Start("sidecar", "s", 0)]
    waiting = Memory(started=lambda _id: False)
    assert planned(p, runtime(record("s")), waiting).idle
    assert planned(p, runtime(record("s"))).start == [Start("init", "i", 0)]


def test_a_sidecar_that_ends_is_restarted_beside_running_apps():
    p = pod("a", init=[init("s", sidecar=True)])
    assert planned(p, runtime(record("s", EXITED), record("a"))).start == [Start("sidecar", "s", 1)]


def test_sidecars_do_not_keep_a_finished_pod_alive():
    p = pod("a", init=[init("s", sidecar=True)], policy="Never")
    both = runtime(record("s"), record("a", EXITED))
    assert planned(p, both).finished
    assert [[c.name for c in group] for group in plan.stop_order(p, runtime(record("s"), record("a")))] == [
        ["a"],
        ["s"],
    ]


def test_sidecars_stop_in_reverse_order():
    p = pod("a", init=[init("s", True), init("t", True)])
    order = plan.stop_order(p, runtime(record("s"), record("t"), record("a")))
    assert [[c.name for c in group] for group in order] == [["a"], ["t"], ["s"]]


def test_restart_policies():
    ended = {code: runtime(record("a", EXITED, code)) for code in (0, 1)}
    assert planned(pod("a"), ended[0]).start and planned(pod("a"), ended[1]).start
    assert planned(pod("a", policy="OnFailure"), ended[0]).finished
    assert planned(pod("a", policy="OnFailure"), ended[1]).start
    assert planned(pod("a", policy="Never"), ended[1]).finished


def test_a_container_rule_wins_over_the_pods_policy():
    p = pod("a", policy="Never")
    rule = {"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}
    p["spec"]["containers"][0] |= {"restartPolicy": "Never", "restartPolicyRules": [rule]}
    assert planned(p, runtime(record("a", EXITED, 42))).start == [Start("app", "a", 1)]
    assert planned(p, runtime(record("a", EXITED, 1))).finished


def test_a_crash_waits_for_its_back_off():
    memory = Memory(backoff=lambda _name, ended: (ended + 10, 10.0))
    step = planned(pod("a"), runtime(record("a", EXITED, 1)), memory)
    assert step.start == [] and step.retry_at == NOW + 9
    message = "back-off 10s restarting failed container=a pod=p_ns(u)"
    assert step.waiting == {"a": Waiting("CrashLoopBackOff", message)}


def test_a_start_that_failed_is_held():
    held = {"a": Held(Waiting("ErrImagePull", "no"), NOW + 5)}
    step = planned(pod("a", "b"), runtime(), Memory(held=held))
    assert step.start == [Start("app", "b", 0)] and step.retry_at == NOW + 5


def test_an_unhealthy_container_is_killed_with_its_probes_grace():
    step = planned(pod("a"), runtime(record("a")), Memory(unhealthy={"a-0": Unhealthy("sick", 3)}))
    assert [(k.container_id, k.message, k.grace) for k in step.kill] == [("a-0", "sick", 3)]


def test_a_new_image_replaces_the_container():
    p = pod("a")
    p["spec"]["containers"][0]["image"] = "other"
    assert [k.message for k in planned(p, runtime(record("a"))).kill] == [
        "Container a definition changed, will be restarted"
    ]


def test_what_was_made_but_not_started_is_made_again_under_its_number():
    step = planned(pod("a"), runtime(record("a", CREATED, attempt=4)))
    assert (step.remove, step.start) == (["a-4"], [Start("app", "a", 4)])


def test_counting_goes_on_from_what_the_api_remembers():
    status = {"containerStatuses": [{"name": "a", "containerID": "containerd://x", "restartCount": 6}]}
    assert planned(pod("a", status=status), runtime()).start == [Start("app", "a", 7)]


def test_an_ephemeral_container_starts_once():
    p = pod("a", ephemeral=[{"name": "e", "image": "i"}])
    assert planned(p, runtime(record("a"))).start == [Start("ephemeral", "e", 0)]
    assert planned(p, runtime(record("a"), record("e", EXITED, 1))).idle


def test_garbage_keeps_the_state_and_the_last_state():
    dead = [record("a", EXITED, 1, attempt=n) for n in range(4)]
    never_started = plan.garbage(runtime(record("a", CREATED), record("a", EXITED, attempt=1), record("a", attempt=2)))
    assert [c.id for c in never_started.containers] == ["a-0"]
    found = plan.garbage(runtime(*dead, record("a", attempt=4)))
    assert sorted(c.attempt for c in found.containers) == [0, 1, 2]


# -- laws

names = st.sampled_from(["a", "b", "i", "j", "s"])
records = st.builds(
    record,
    names,
    st.sampled_from([CREATED, RUNNING, EXITED]),
    st.sampled_from([0, 1]),
    st.integers(0, 3),
    st.sampled_from(["box", "old"]),
)
policies = st.sampled_from(["Always", "OnFailure", "Never"])


@settings(max_examples=300, deadline=None)
@given(st.lists(records, max_size=8, unique_by=lambda c: c.id), policies, st.booleans())
def test_a_plan_never_starts_what_runs_and_never_repeats_a_number(found, policy, started):
    p = pod("a", "b", init=[init("i"), init("s", True), init("j")], policy=policy)
    now = runtime(*found)
    step = planned(p, now, Memory(started=lambda _id: started))
    names = [s.name for s in step.start]
    assert len(names) == len(set(names))
    for start in step.start:
        newest = now.latest(start.name)
        assert newest is None or newest.state != RUNNING or newest.sandbox_id != "box"
        numbers = {c.attempt for c in now.attempts(start.name) if c.id not in step.remove}
        assert start.attempt not in numbers or start.attempt > max(numbers)
    if any(s.kind == "app" for s in step.start) and not any(
        (c := now.latest(n)) and c.sandbox_id == "box" and c.state != CREATED for n in "ab"
    ):
        # No app starts in a fresh sandbox before every init container has succeeded in it.
        for name in "ij":
            done = now.latest(name)
            assert done and done.state == EXITED and done.exit_code == 0 and done.sandbox_id == "box"
    if step.finished:
        assert step.idle


@settings(max_examples=100, deadline=None)
@given(policies, st.integers(0, 2), st.lists(st.sampled_from([0, 1]), min_size=12, max_size=12))
def test_carrying_out_plans_reaches_rest(policy, init_count, codes):
    """However containers end, repeated plan and act comes to a finished pod or one with everything running."""
    p = pod("a", init=[init(f"i{n}") for n in range(init_count)], policy=policy)
    containers: dict[str, Container] = {}
    ends = iter(codes)
    for _ in range(40):
        step = planned(p, runtime(*containers.values()))
        if step.finished or step.idle:
            break
        for start in step.start:
            code = next(ends, 0)
            ended = start.kind == "init" or code == 1
            made = record(start.name, EXITED if ended else RUNNING, code, start.attempt)
            containers[made.id] = made
    else:
        raise AssertionError("no rest")
    assert step.finished or runtime(*containers.values()).latest("a").state == RUNNING
