"""What the scenarios share: one house a network kind, for the whole run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from hypothesis import HealthCheck, settings
from temporalio.client import Client
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

import worker
from devnet.house import House, furnished, house, network
from devnet.receiver import Receiver
from devnet.simulated import SimulatedNetwork
from devnet.temporal_postgres import TemporalOnPostgres
from fulgurite.attributes import REGISTRY
from nodes.registry import Nodes
from nodes.webhooks.sender import Webhooks
from settings import CONFIG_VARIABLE
from starter.client import FulguriteClient
from starter.connect import connect
from tests.commands import Command
from tests.oracle import accounted_for
from tests.receivers import receiving, told_of
from tests.standing import loop_of_the_session, pytest_runtest_makereport

# A fixture and a hook: pytest finds them here.
__all__ = ["loop_of_the_session", "pytest_runtest_makereport"]

# How long an example takes tells of the machine, and of nothing else.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

HOUSES = [
    pytest.param("simulated", id="simulated"),
    pytest.param("regtest", id="regtest", marks=pytest.mark.regtest),
    # The simulated network once more, with Temporal as production has it.
    pytest.param("postgres", id="postgres", marks=pytest.mark.regtest),
]


# Whose database Temporal has shows where something dies, many come at once, or it runs long.
ON_POSTGRES = frozenset(
    {
        *("test_postgres", "test_kills", "test_outages", "test_takeovers", "test_bounded"),
        *("test_callers", "test_payments", "test_settlements", "test_relay"),
    }
)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what another database cannot change."""
    left_out = [each for each in items if _is_on_postgres_in_vain(each)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [each for each in items if each not in left_out]


def _is_on_postgres_in_vain(item: pytest.Item) -> bool:
    kind = item.callspec.params.get("home", "") if hasattr(item, "callspec") else ""
    return kind == "postgres" and item.path.stem not in ON_POSTGRES


# A few tests only, which take as long as a hundred others.
_LONGEST = "tests/stuck/test_kills.py regtest"


class Together(LoadScopeScheduling):  # type: ignore[misc] # xdist has no types
    """What stays together where processes share the work: more than cores, since tests mostly wait.

    A file; on real daemons a folder, because the house that it shares takes its time to build,
    but for a file that takes much longer than that.
    """

    def _split_scope(self, nodeid: str) -> str:
        path, _, test = nodeid.partition("::")
        kind = next((kind for kind in ("regtest", "postgres") if kind in test), "")
        folder, _, file = path.rpartition("/")
        together = folder if file != "test_kills.py" else path
        return f"{together} {kind}" if kind or "/regtest" in folder else path

    def _assign_work_unit(self, node: WorkerController) -> None:
        """Begins with what takes longest: as the last it would be waited for alone."""
        if _LONGEST in self.workqueue:
            self.workqueue.move_to_end(_LONGEST, last=False)
        super()._assign_work_unit(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return Together(config, log)


@pytest.fixture(scope="session")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Receiver]:
    """A merchant's webhook receiver, told of every invoice of every house."""
    async with receiving("shop", tmp_path_factory) as receiver:
        yield receiver


@pytest.fixture(scope="session")
async def desk(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Receiver]:
    """Where operators are told, of what the house of a folder has for them."""
    async with receiving("desk", tmp_path_factory) as receiver:
        yield receiver


@pytest.fixture(scope="session", params=HOUSES)
async def home(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shop: Receiver
) -> AsyncIterator[House]:
    """Temporal and a network, of each kind, and a shop that is told of invoices; no worker."""
    state_dir = tmp_path_factory.mktemp(request.param)
    webhooks = told_of(shop, "shop", tmp_path_factory, "invoice.*")
    if request.param != "postgres":
        async with house(request.param, state_dir, webhooks=webhooks) as built:
            yield built
        return
    async with (
        TemporalOnPostgres(state_dir / "temporal", search_attributes=REGISTRY) as server,
        network("simulated", state_dir / "network") as simulated,
    ):
        yield furnished(state_dir, simulated, server, webhooks)


@pytest.fixture(scope="session")
async def temporal(home: House) -> Client:
    """A Temporal client of the house, speaking our JSON."""
    return await connect(home.settings)


@pytest.fixture
def simulated(home: House) -> SimulatedNetwork:
    """For what only a simulation can do on request: together with SIMULATED_ONLY."""
    assert isinstance(home.network, SimulatedNetwork)
    return home.network


@pytest.fixture
async def oracle(home: House) -> AsyncIterator[None]:
    """The independent ledger has the last word, whatever a scenario was about."""
    yield
    await accounted_for(home.network)


@pytest.fixture
def client(temporal: Client) -> FulguriteClient:
    """As `working` below it serves every folder's own `home` and `temporal`."""
    return FulguriteClient(temporal)


@pytest.fixture
def fulgurite(home: House) -> Command:
    """The command, configured for the house."""
    return Command({CONFIG_VARIABLE: str(home.config_path)})


@pytest.fixture
async def working(home: House, temporal: Client) -> AsyncIterator[None]:
    """A worker in this process, on the client's own connection: the fast path, eager start."""
    nodes, webhooks = Nodes(home.settings.nodes), Webhooks(home.settings.webhooks)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(nodes.close)
        stack.push_async_callback(webhooks.close)
        for each in worker.workers(temporal, home.settings, nodes, webhooks):
            await stack.enter_async_context(each)
        await worker.listen(temporal, nodes)
        yield
