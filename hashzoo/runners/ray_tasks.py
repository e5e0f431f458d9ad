"""Tasks of a Ray cluster, each with the processors and the GPU that it needs; or of a Ray on this machine.

Ray itself runs a task again when its worker or its node is lost. All nodes see the folder in which the command was
typed and what is written there, at the same paths; where one does not, the command ends with a sentence that says so.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hashzoo.errors import HashzooError, one_line
from hashzoo.processors import available_threads
from hashzoo.runners import TRIES, worker

if TYPE_CHECKING:
    from hashzoo.runners import Kind, Task, Tell

BETWEEN_LOOKS = 0.5  # seconds, at what the workers say
PATIENCE = 60.0  # seconds until a node must be there that is large enough: clusters grow, and nodes start again


class RayTasks:
    """A Ray task a task, or Ray Data where workers hold something; `jobs` at a time, or as many as the cluster takes.

    `address` is that of a cluster, "auto" or "HOST:6379"; "" is `$RAY_ADDRESS`, or else a Ray of this machine, which
    is started, and ended afterwards. A program that has called `ray.init` keeps the Ray that it has.
    """

    name = "ray"

    def __init__(self, jobs: int | None, address: str):
        self.jobs = jobs
        self.address = address

    @contextlib.contextmanager
    def workers(self, kind: Kind) -> Iterator[_Cluster]:
        # Ray hides the GPUs of a node from no task; one that asked for none must not find any.
        environment = {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
        environment |= {} if kind.gpu else {"CUDA_VISIBLE_DEVICES": ""}
        orders = worker.orders_for(kind, environment)
        with _connected(self.address) as ray:
            cluster = _Cluster(ray, orders, self.jobs)
            try:
                yield cluster
            finally:
                cluster.end()

    def gpu(self, device: str) -> bool:
        """As this machine says, where the device is left to it."""
        from hashzoo.benches.plan import find_device

        if device.startswith("cuda:"):
            raise HashzooError(f"Ray gives each task its GPU; type --device cuda, not {device}")
        return device == "cuda" or (device == "auto" and find_device("auto").type == "cuda")


class Board:
    """An actor beside the command: what workers say on their way, until it asks for it."""

    def __init__(self) -> None:
        self._said: list[str] = []
        self._begun: defaultdict[tuple[int, int], set[str]] = defaultdict(set)

    def begin(self, turn: int, number: int, token: str) -> int:
        """How often a task has been begun, this time among them; Ray may ask twice for one time, with its token."""
        self._begun[turn, number].add(token)
        return len(self._begun[turn, number])

    def say(self, text: str) -> None:
        self._said.append(text)

    def take(self) -> list[str]:
        said, self._said = self._said, []
        return said


def obey(orders: str, one: str, turn: int, number: int, board: Any) -> str:
    """What a task is: an answer of `worker.obey`. `turn` tells apart what is said of tasks of the same number."""

    def say(kind: str, content: dict[str, Any]) -> None:
        board.say.remote(json.dumps([turn, kind, number, content]))

    if json.loads(one)["do"] != "fail":
        say("start", {"node": socket.gethostname()})
    return worker.obey(orders, one, lambda line: say("epoch", line))


class _Cluster:
    """The tasks that Ray has, and those that it has finished."""

    def __init__(self, ray: Any, orders: str, jobs: int | None):
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
        self._ray, self._jobs = ray, jobs
        self._orders, self._reference = orders, ray.put(orders)
        # A busy machine may not answer a call at once, or end the board for lack of memory: workers ask again.
        lasting = {"max_restarts": -1, "max_task_retries": -1}
        self._board = ray.remote(Board).options(num_cpus=0, scheduling_strategy=here, **lasting).remote()
        self._obey = ray.remote(obey)
        self._too_large_since = float("inf")
        self._pending: dict[Any, tuple[int, Task, str]] = {}
        self._open: set[int] = set()
        self._turn = 0  # how often there were tasks to do

    def do(self, tasks: Mapping[int, Task], tell: Tell, held: bool = False) -> None:
        self._tell, self._started, self._open = tell, dict.fromkeys(tasks, 0), set(tasks)
        self._turn += 1
        if held and tasks:
            self._map(tasks)
            return
        for number, task in tasks.items():
            while len(self._pending) >= (self._jobs or len(tasks)):
                self._collect()
            self._submit(number, task, json.dumps(task.words), TRIES - 1)
        while self._pending:
            self._collect()

    def _map(self, tasks: Mapping[int, Task]) -> None:
        """Tasks that are alike, by Ray Data: its actors hold what a worker has loaded."""
        from hashzoo.runners.ray_data import mapped

        need = next(iter(tasks.values()))
        while not self._has_room([need]):
            time.sleep(BETWEEN_LOOKS)
        words = {number: json.dumps(task.words) for number, task in tasks.items()}
        try:
            for number, answer in mapped((self._orders, self._turn, self._board), words, need, self._jobs):
                self._listen()
                self._finish(number, answer)
        except self._ray.exceptions.RayTaskError as error:
            raise self._explained(error) from error

    def _submit(self, number: int, task: Task, one: str, retries: int) -> None:
        asking = self._obey.options(num_cpus=task.threads, num_gpus=int(task.gpu), max_retries=retries)
        self._pending[asking.remote(self._reference, one, self._turn, number, self._board)] = number, task, one

    def _collect(self) -> None:
        """Take what is finished, when something is, and pass on what is said."""
        ready, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=BETWEEN_LOOKS)
        self._listen()
        if not ready:
            self._has_room([task for _, task, _ in self._pending.values()])
        for reference in ready:
            number, task, one = self._pending.pop(reference)
            errors = self._ray.exceptions
            try:
                answer = str(self._ray.get(reference))
            except errors.RayTaskError as error:
                raise self._explained(error) from error
            except errors.RayError as error:
                if json.loads(one)["do"] == "fail":
                    raise lost(error) from error
                # Another worker notes that it has failed.
                reason = f"its worker was lost {TRIES} times ({type(error).__name__}), often for lack of memory"
                self._submit(number, task, json.dumps(json.loads(one) | {"do": "fail", "reason": reason}), 0)
            else:
                self._finish(number, answer)

    def _explained(self, error: Any) -> HashzooError:
        """The sentence for a task that raised: it never came as far as our own code, or Ray failed within it."""
        of_ray = isinstance(error.cause, self._ray.exceptions.RayError)
        return lost(error.cause) if of_ray else cannot_run(error.cause)

    def _finish(self, number: int, answer: str) -> None:
        self._open.discard(number)
        self._tell("done", number, worker.result_of(answer))

    def _listen(self) -> None:
        """Pass on what workers have said since the last look."""
        try:
            said = self._ray.get(self._board.take.remote(), timeout=5)
        except self._ray.exceptions.RayError:
            return  # a display that stands still is no reason to end
        for turn, kind, number, content in map(json.loads, said):
            if turn != self._turn or number not in self._open:
                continue
            if kind == "start":
                self._started[number] += 1
                if self._started[number] > 1:
                    lost = {"reason": "its worker or its node is gone", "times": self._started[number] - 1}
                    self._tell("lost", number, lost)
            self._tell(kind, number, content)

    def _has_room(self, tasks: list[Task]) -> bool:
        """Whether a node is large enough for a task; when none has been for so long that none will be, raise."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        needs = [{"CPU": float(task.threads), "GPU": float(task.gpu)} for task in tasks]
        if any(all(node.get(name, 0) >= n for name, n in need.items()) for need in needs for node in nodes):
            self._too_large_since = float("inf")
            return True
        self._too_large_since = min(self._too_large_since, time.monotonic())
        if time.monotonic() - self._too_large_since > PATIENCE:
            what = f"{needs[0]['CPU']:.0f} CPUs" + (" and a GPU" if needs[0]["GPU"] else "")
            raise HashzooError(
                f"no node of the Ray cluster has had {what} for {PATIENCE:.0f} seconds, which a task takes; give "
                f"--threads and --device to suit, or add a node",
                exit_code=1,
            )
        return False

    def end(self) -> None:
        """Leave nothing behind in a cluster that goes on."""
        with contextlib.suppress(Exception):  # it may be gone
            for reference in self._pending:
                self._ray.cancel(reference, force=True)
            self._ray.kill(self._board)


def cannot_run(error: BaseException) -> HashzooError:
    """The sentence for a node that never comes as far as our own code."""
    return HashzooError(
        f"a worker of the Ray cluster cannot run hashzoo ({one_line(error)}); install hashzoo and its plugins on every "
        f"node",
        exit_code=1,
    )


def lost(error: BaseException) -> HashzooError:
    """The sentence for a cluster that fails where a task does not."""
    return HashzooError(
        f"a worker of the Ray cluster was lost ({one_line(error)}); what is finished is kept, run the same command "
        f"again",
        exit_code=1,
    )


@contextlib.contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Ray, connected for the block."""
    loaded = sys.modules.get("ray")
    if loaded is not None and loaded.is_initialized():
        yield loaded
        return
    address = address or os.environ.get("RAY_ADDRESS", "") or "local"
    _check_address(address)
    # Whether something is told to the makers of Ray is for whoever runs a cluster to say.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    own: dict[str, Any] = {"num_cpus": available_threads(), "include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except Exception as error:
        raise _unreachable(address, error) from error
    try:
        yield ray
    except ray.exceptions.RayError as error:
        raise HashzooError(
            f"the Ray cluster is gone ({one_line(error)}); what is finished is kept, run the same command again",
            exit_code=1,
        ) from error
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Raise where nobody listens: Ray itself tries for minutes."""
    match = re.fullmatch(r"(?:ray://)?(.+):(\d{1,5})", address)
    if match is None:
        return
    try:
        socket.create_connection((match[1].strip("[]"), int(match[2])), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: BaseException) -> HashzooError:
    return HashzooError(
        f"Ray cannot be reached at '{address}' ({one_line(error)}); start one with ray start --head, or leave "
        f"--ray-address out",
        exit_code=1,
    )
