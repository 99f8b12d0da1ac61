"""Measure ours beside stock on the same testbed, in turns."""

import contextlib
import functools
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gateway.request.environments import DEFAULT_PIXI_ENVIRONMENT, Environment
from gateway.site import Backend, load
from release import process
from testbed import submission
from testbed.bench import crowd, ended_clusters, floor, processor_time, quota_cost, sides, squeue
from testbed.bench.figures import Goal, Result, Statistic
from testbed.bench.sides import OURS, STOCK, Client, Side
from testbed.bench.stock import kubernetes as stock_kubernetes
from testbed.bench.stock import slurm as stock_slurm
from testbed.demo import PIXI_PROJECT
from testbed.paths import SITE

ENVIRONMENT = Environment("pixi_project", PIXI_PROJECT, DEFAULT_PIXI_ENVIRONMENT)
"""The environment of all clusters, on both sides and both back ends."""
PAUSE_SECONDS = 5
"""Pause between clusters, in which the previous one ends."""
WORKERS = 100
LISTED = 200
LISTINGS = 10
"""Listings of each side in a repetition: each takes milliseconds."""
USERS = 30
SLURM_USERS = ("alice", "bob")
"""The testbed's Purdue users; each creates an equal share of :data:`USERS` clusters."""
IDLE_SECONDS = 60
QUOTA_REPETITIONS = 50
LIGHT: Mapping[Backend, Mapping[str, float]] = {
    Backend.KUBERNETES: {"worker_cores": 0.1, "worker_memory": 0.25},
    Backend.SLURM: {"worker_cores": 1, "worker_memory": 1},
}
"""Workers of which the machine can run several."""
HEAVY = {"worker_cores": 16, "worker_memory": 64}
"""SLURM workers of which most wait in the queue, so that the machine's time to start Python is left out."""


@dataclass(frozen=True)
class Bench:
    """The two sides of a back end, and the number of repetitions of each measurement."""

    backend: Backend
    ours: Side
    stock: Side
    repetitions: int

    def connected(
        self, people: Sequence[str] = (sides.PERSON,), tokens: Mapping[str, str] | None = None
    ) -> contextlib.AbstractContextManager[Mapping[str, Client]]:
        """Yield a client of each side."""
        return _connected((self.ours, self.stock), people, tokens)

    def options(self, sizes: Mapping[str, float]) -> dict[str, object]:
        """Return the options of a cluster. Stock does not choose the environment by them."""
        return {"pixi_project": ENVIRONMENT.path, **sizes}

    @property
    def title(self) -> str:
        """The back end's name."""
        return {Backend.KUBERNETES: "Kubernetes", Backend.SLURM: "SLURM"}[self.backend]


@contextlib.contextmanager
def _connected(
    both: Sequence[Side], people: Sequence[str], tokens: Mapping[str, str] | None
) -> Iterator[Mapping[str, Client]]:
    with contextlib.ExitStack() as stack:
        yield {side.name: stack.enter_context(sides.client(side, people, tokens)) for side in both}


def wait_for_phase(share: float) -> None:
    """Sleep until that share of a second of the clock has passed.

    SLURM schedules its queue once a second, and the kubelet reconciles its containers once a second. Each repetition
    begins at another phase of the second, the same for both sides, so that neither side has an advantage.
    """
    time.sleep((share - time.time()) % 1)


def turns(repetitions: int) -> Iterator[tuple[str, ...]]:
    """Yield the order of the sides in each repetition. It alternates, so that neither side always follows the other."""
    for number in range(repetitions):
        yield (OURS, STOCK) if number % 2 == 0 else (STOCK, OURS)


@contextlib.contextmanager
def benches(repetitions: int) -> Iterator[Mapping[Backend, Bench]]:
    """Yield both back ends' benches, with stock up beside ours while the context lasts."""
    with (
        stock_kubernetes.up(ENVIRONMENT.prefix) as kubernetes,
        stock_slurm.up(ENVIRONMENT.prefix) as slurm,
    ):
        stock = {Backend.KUBERNETES: kubernetes, Backend.SLURM: slurm}
        yield {backend: Bench(backend, sides.ours(backend), side, repetitions) for backend, side in stock.items()}


def starts(bench: Bench) -> Iterator[Result]:
    """Measure the start of a cluster, and of its first worker until the first result."""
    running, first = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    with bench.connected() as clients:
        # The first repetition fills caches and does not count.
        for number, order in enumerate(turns(bench.repetitions + 1)):
            phase = number / bench.repetitions
            for side in order:
                wait_for_phase(phase)
                running[side].append(clients[side].ask("new_cluster", options=bench.options(LIGHT[bench.backend])))
                wait_for_phase(phase)
                first[side].append(clients[side].ask("first_result"))
                clients[side].ask("shutdown")
                time.sleep(PAUSE_SECONDS)
    most = {Backend.KUBERNETES: 0.4, Backend.SLURM: 0.8}[bench.backend]
    yield Result(f"`new_cluster` until it runs, {bench.title}", running[OURS][1:], running[STOCK][1:], Goal(most))
    yield Result(f"first result after `scale(1)`, {bench.title}", first[OURS][1:], first[STOCK][1:], Goal(0.9))


def refusals(bench: Bench) -> Iterator[Result]:
    """Measure requests that are refused before or after a check of the environment. Stock has no such checks."""
    wrong = {
        "refused before anything runs (`worker_cores=-1`)": {"pixi_project": ENVIRONMENT.path, "worker_cores": -1},
        "refused after a look as the user (`pixi_env` not installed)": {
            "pixi_project": ENVIRONMENT.path,
            "pixi_env": "x",
        },
    }
    with _connected((bench.ours,), (sides.PERSON,), None) as clients:
        for title, options in wrong.items():
            times = [clients[OURS].ask("refusal", options=options) for _ in range(bench.repetitions)]
            yield Result(f"{title}, {bench.title}", times)


def many_workers(bench: Bench) -> Iterator[Result]:
    """Measure how fast many SLURM jobs start and end."""
    came, went = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    errors = defaultdict[str, list[str]](list)
    with bench.connected() as clients, squeue.watched(sides.PERSON) as watch:
        for order in turns(bench.repetitions):
            for side in order:
                try:
                    arrived, gone = _came_and_went(bench, clients[side], watch)
                except (sides.ClientError, TimeoutError) as error:
                    errors[side].append(str(error))
                    clients[side].ask("shutdown")
                else:
                    came[side].append(arrived)
                    went[side].append(gone)
                time.sleep(PAUSE_SECONDS)
    yield Result(f"{WORKERS} SLURM workers, until all are in the queue", came[OURS], came[STOCK], Goal(0.1), errors)
    yield Result(f"{WORKERS} SLURM workers, from shutdown until all are gone", went[OURS], went[STOCK], Goal(0.2))


def _came_and_went(bench: Bench, client: Client, watch: squeue.Watch) -> tuple[float, float]:
    before = watch.now()
    client.ask("new_cluster", options=bench.options(HEAVY))
    asked = client.ask("scale", count=WORKERS)
    # One job more, for the scheduler.
    came = functools.partial(squeue.seconds_until, since=asked, count=WORKERS + 1, before=before)
    arrived = watch.wait("all workers are in the queue", came)
    ended = client.ask("shutdown")
    gone = functools.partial(squeue.seconds_until_gone, since=ended, before=before)
    return arrived, watch.wait("no worker is in the queue", gone)


@dataclass(frozen=True)
class Crowd:
    """People that create clusters at the same time."""

    title: str
    people: Sequence[str]
    tokens: Mapping[str, str] | None
    """None stands for the testbed's tokens."""
    env: Sequence[Mapping[str, str]]
    """The value of the option ``env`` of each person."""


@contextlib.contextmanager
def _kubernetes_crowd() -> Iterator[Crowd]:
    members = crowd.members(USERS)
    title = f"{USERS} users at once, until their cluster runs"
    with crowd.logged_in(members) as tokens:
        yield Crowd(title, [member.name for member in members], tokens, [member.env for member in members])


@contextlib.contextmanager
def _slurm_crowd() -> Iterator[Crowd]:
    # Only accounts of the directory may submit, and each must be known to SLURM's accounting.
    people = [SLURM_USERS[number % len(SLURM_USERS)] for number in range(USERS)]
    yield Crowd(f"{USERS} clusters at once of {len(SLURM_USERS)} users, until they run", people, None, [{}] * USERS)


def crowds(bench: Bench) -> Iterator[Result]:
    """Measure the start of clusters that many users create at the same time."""
    make = _kubernetes_crowd if bench.backend is Backend.KUBERNETES else _slurm_crowd
    times, errors = defaultdict[str, list[float]](list), defaultdict[str, list[str]](list)
    both = {OURS: bench.ours, STOCK: bench.stock}
    with make() as everybody:
        wanted = [{**bench.options(LIGHT[bench.backend]), "env": env} for env in everybody.env]
        for order in turns(bench.repetitions):
            for side in order:
                # Connect one side at a time: the heartbeats of a connected crowd take processor time from the other
                # side.
                with sides.client(both[side], everybody.people, everybody.tokens) as client:
                    got = client.ask("crowd", options=wanted)
                times[side] += got["seconds"]
                errors[side] += got["errors"]
                time.sleep(PAUSE_SECONDS)
    yield Result(f"{everybody.title}, {bench.title}", times[OURS], times[STOCK], Goal(1, Statistic.P95), errors)


def listings(bench: Bench) -> Iterator[Result]:
    """Measure the listing of many clusters, of equally many on both sides."""
    times = defaultdict[str, list[float]](list)
    with bench.connected() as clients, contextlib.ExitStack() as stack:
        originals = {side: _ended_cluster(bench, client) for side, client in clients.items()}
        time.sleep(PAUSE_SECONDS)
        there = {side: client.ask("listing", status="stopped")["count"] for side, client in clients.items()}
        # Add at least one cluster on each side.
        count = max(LISTED, *(1 + number for number in there.values()))
        for side, original in originals.items():
            stack.enter_context(ended_clusters.added(original, count - there[side]))
        for order in turns(bench.repetitions):
            for side in order * LISTINGS:
                answer = clients[side].ask("listing", status="stopped")
                if answer["count"] != count:
                    raise RuntimeError(f"{side} lists {answer['count']} clusters instead of {count}")
                times[side].append(answer["seconds"])
    yield Result(f"list of {count} clusters, {bench.title}", times[OURS], times[STOCK], Goal(1))


def _ended_cluster(bench: Bench, client: Client) -> Mapping[str, object]:
    client.ask("new_cluster", options=bench.options(LIGHT[bench.backend]))
    described = ended_clusters.described(client.ask("cluster_name"))
    client.ask("shutdown")
    return described


def idle(bench: Bench) -> Iterator[Result]:
    """Measure the processor time of idle gateways, on both sides at the same time."""
    times = defaultdict[str, list[float]](list)
    readers = _readers(bench.backend)
    for _ in range(bench.repetitions):
        before = {side: read() for side, read in readers.items()}
        time.sleep(IDLE_SECONDS)
        for side, read in readers.items():
            times[side].append(processor_time.spent(before[side], read()))
    title = f"processor time of the idle gateway in {IDLE_SECONDS} s, {bench.title}"
    yield Result(title, times[OURS], times[STOCK], Goal(1))


def _readers(backend: Backend) -> Mapping[str, Callable[[], float]]:
    if backend is Backend.KUBERNETES:
        return {
            OURS: functools.partial(processor_time.of_namespace, load(SITE).kubernetes.namespace),
            STOCK: functools.partial(processor_time.of_namespace, stock_kubernetes.NAMESPACE),
        }
    units = functools.partial(processor_time.of_units, submission.CONTAINER)
    return {
        OURS: functools.partial(units, submission.SERVICES),
        STOCK: functools.partial(units, (f"{stock_slurm.NAME}.service",)),
    }


def quotas(_bench: Bench) -> Iterator[Result]:
    """Measure the check of a user's total."""
    site = load(SITE)
    title = f"check of the user's total for a cluster more, beside {quota_cost.CLUSTERS_OF_ALL} of all users"
    yield Result(title, quota_cost.of_create(site, QUOTA_REPETITIONS), goal=Goal(0.005))
    title = (
        f"check of the user's total for {quota_cost.WANTED} workers more, beside {quota_cost.CLUSTERS_OF_USER} clusters"
    )
    yield Result(title, quota_cost.of_scale(site, QUOTA_REPETITIONS), goal=Goal(0.005))


def floors(bench: Bench) -> Iterator[Result]:
    """Measure the parts of a cluster's start that no gateway can shorten."""
    site, count = load(SITE), range(bench.repetitions)
    if bench.backend is Backend.KUBERNETES:
        image = stock_kubernetes.deployed_images().environment
        times = [floor.pod_seconds(stock_kubernetes.NAMESPACE, image) for _ in count]
        yield Result("a pod that does nothing, until it is ready", times)
        with _connected((bench.ours,), (sides.PERSON,), None) as clients:
            times = [clients[OURS].ask("imports", prefix=ENVIRONMENT.prefix) for _ in count]
        yield Result("start of Python with a scheduler's imports", times)
    else:
        partition = site.slurm.worker_jobs.partition
        times = []
        for number in count:
            wait_for_phase(number / bench.repetitions)
            times.append(floor.job_seconds(sides.PERSON, site.slurm.account, partition))
        yield Result("a SLURM job that does nothing, until it runs", times)


@dataclass(frozen=True)
class Measure:
    """A measurement on some back ends."""

    name: str
    """Name on the command line."""
    run: Callable[[Bench], Iterator[Result]]
    backends: tuple[Backend, ...] = (Backend.KUBERNETES, Backend.SLURM)


MEASURES = (
    Measure("idle", idle),
    Measure("starts", starts),
    Measure("workers", many_workers, (Backend.SLURM,)),
    Measure("quota", quotas, (Backend.KUBERNETES,)),
    Measure("crowds", crowds),
    Measure("listings", listings, (Backend.KUBERNETES,)),
    Measure("refusals", refusals),
    Measure("floors", floors),
)


def measured(names: Sequence[str], repetitions: int) -> Iterator[Result]:
    """Yield the results of the named measures, each as soon as it is known; a failure ends only its own measure."""
    with benches(repetitions) as both:
        for measure in MEASURES:
            for backend in measure.backends if measure.name in names else ():
                process.say(f"{measure.name}, {backend.value}")
                try:
                    yield from measure.run(both[backend])
                except (sides.ClientError, process.CommandError, TimeoutError, RuntimeError) as error:
                    side = error.side if isinstance(error, sides.ClientError) else OURS
                    yield Result(f"{measure.name}, {both[backend].title}: failed", (), errors={side: [str(error)]})
