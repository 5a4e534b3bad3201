"""The compose file, the settings, the code and the documents say the same."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib

import pytest

from devnet.daemons import LND, TEMPORAL_SERVER
from fulgurite.bolt11 import ChainNetwork
from nodes.config import DEFAULT_LND_ADDRESS
from nodes.roles import Role
from settings import Settings
from tests.deploy.compose import COMPOSE_FILE, OPERATOR, ROOT, Service, load

COMPOSE = load()
SERVICES = COMPOSE.services
WORKER = SERVICES["worker"]
LND_CONF = (ROOT / "deploy" / "lnd.conf").read_text()
DEPLOYMENT = (ROOT / "docs" / "deployment.md").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()

EXACT_VERSION = re.compile(r"[\w./-]+:v?\d+\.\d+(\.\d+)?[\w.-]*(@sha256:[0-9a-f]{64})?")

each_service = pytest.mark.parametrize("service", SERVICES.values(), ids=SERVICES)


def worker_settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    return _settings_with(monkeypatch, kept=set())


def _settings_with(monkeypatch: pytest.MonkeyPatch, *, kept: set[str]) -> Settings:
    """The worker's, and beside it only those variables."""
    ours = {name for name in os.environ if name.startswith("FULGURITE_")}
    for name in ours - kept:
        monkeypatch.delenv(name)
    for name, value in WORKER.environment.items():
        monkeypatch.setenv(name, value)
    return Settings()


def version_of(service: str) -> str:
    return SERVICES[service].image.partition(":")[2]


def test_the_variables_that_the_page_has_are_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt one is refused, and so every one here is read."""
    variables = re.findall(r"`(FULGURITE_NODES__MAIN__(?:LOOP|POOL)__\w+)`", DEPLOYMENT)
    assert len(variables) == 8
    values = {"ADDRESS": "host:1", "APPROVAL_ABOVE_SAT": "7"}
    for name in variables:
        monkeypatch.setenv(name, values.get(name.rpartition("__")[2], f"/run/{name}"))
    node = _settings_with(monkeypatch, kept=set(variables)).nodes["main"]
    assert node.loop
    assert node.pool
    for daemon in (node.loop, node.pool):
        assert (daemon.address, daemon.approval_above_sat) == ("host:1", 7)


# What every service has.


@each_service
def test_the_image_is_an_exact_version(service: Service) -> None:
    assert EXACT_VERSION.fullmatch(service.image)


@each_service
def test_published_ports_are_on_loopback_and_in_the_documents(service: Service) -> None:
    for port in service.ports:
        address, published, _ = port.split(":")
        assert address == "127.0.0.1"
        assert f"127.0.0.1:{published}" in DEPLOYMENT


@each_service
def test_it_runs_with_as_few_rights_as_it_can(service: Service) -> None:
    assert service.cap_drop == ["ALL"]
    assert service.security_opt == ["no-new-privileges:true"]
    assert service.read_only


@each_service
def test_its_log_is_rotated(service: Service) -> None:
    assert service.logging.options.keys() == {"max-size", "max-file"}


@each_service
def test_what_it_refers_to_is_there(service: Service) -> None:
    assert set(service.networks) <= COMPOSE.networks.keys()
    assert set(service.secrets) <= COMPOSE.secrets.keys()
    assert service.depends_on.keys() <= SERVICES.keys()
    named = {volume.source for volume in service.volumes if volume.type == "volume"}
    assert named <= COMPOSE.volumes.keys()
    ours = [bind.source for bind in service.binds if not bind.source.startswith("./secrets/")]
    for source in ours:
        assert (ROOT / source).exists()


@each_service
def test_it_waits_for_what_can_become_true(service: Service) -> None:
    for name, wanted in service.depends_on.items():
        ends = wanted.condition == "service_completed_successfully"
        assert SERVICES[name].job is ends
        assert ends or SERVICES[name].healthcheck


@each_service
def test_a_program_of_ours_that_it_runs_is_executable(service: Service) -> None:
    scripts = {"schema.sh", "serve.sh", "namespace.sh"}
    for word in service.command:
        if (name := word.rpartition("/")[2]) in scripts:
            assert os.access(ROOT / "deploy" / "temporal" / name, os.X_OK)


@pytest.mark.parametrize(
    "service",
    [pytest.param(service, id=name) for name, service in SERVICES.items() if not service.job],
)
def test_what_runs_on_says_whether_it_is_well(service: Service) -> None:
    assert service.healthcheck
    assert service.restart == "unless-stopped"


def test_every_secret_is_used_and_documented() -> None:
    assert {name for service in SERVICES.values() for name in service.secrets} == set(
        COMPOSE.secrets
    )
    for secret in COMPOSE.secrets.values():
        assert secret.file.removeprefix("./") in DEPLOYMENT


# Who reaches whom.


def test_the_database_is_reached_by_temporal_alone() -> None:
    assert COMPOSE.networks["database"].internal
    beside = {name for name, service in SERVICES.items() if "database" in service.networks}
    assert beside == {"postgres", "temporal", "temporal-schema"}


def test_the_node_is_reached_by_the_worker_alone() -> None:
    assert COMPOSE.networks["lightning"].internal
    beside = {name for name, service in SERVICES.items() if "lightning" in service.networks}
    assert beside == {"lnd", "worker"}
    assert not set(SERVICES["lnd"].networks) & {"database", "control"}


# The worker.


def test_the_worker_starts_with_these_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = worker_settings(monkeypatch)

    assert settings.temporal_address == "temporal:7233"
    node = settings.nodes["main"]
    assert node.network is ChainNetwork(OPERATOR["BITCOIN_NETWORK"])
    assert node.approval_above_sat is not None


def test_every_variable_of_the_worker_is_a_setting() -> None:
    for name in WORKER.environment:
        field = name.removeprefix("FULGURITE_").partition("__")[0].lower()
        assert name.startswith("FULGURITE_")
        assert field in Settings.model_fields


def test_the_files_that_the_worker_reads_are_mounted(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = worker_settings(monkeypatch)
    node = settings.nodes["main"]
    mounted = {mount.target for mount in WORKER.volumes}
    secrets = {f"/run/secrets/{name}" for name in WORKER.secrets}

    assert node.tls_cert_path is not None
    assert str(node.tls_cert_path.parent) in mounted
    assert str(node.macaroon_dir) in mounted
    assert str(settings.unsealing_key_path) in secrets
    assert all(mount.read_only for mount in WORKER.volumes)


def test_the_worker_has_time_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    grace = worker_settings(monkeypatch).graceful_shutdown_seconds
    assert WORKER.stop_grace_period >= 2 * grace


def test_the_worker_listens_where_compose_publishes(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = worker_settings(monkeypatch)
    inside = {port.rpartition(":")[2] for port in WORKER.ports}
    for address in (settings.metrics_address, settings.health_address):
        host, _, port = address.rpartition(":")
        assert host == "0.0.0.0"
        assert port in inside
        assert f" {port}" in DOCKERFILE[DOCKERFILE.index("EXPOSE") :].splitlines()[0]


def test_both_health_checks_of_the_worker_ask_whether_it_is_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = worker_settings(monkeypatch).health_address.rpartition(":")[2]
    assert WORKER.healthcheck
    for check in (WORKER.healthcheck.test[-1], DOCKERFILE[DOCKERFILE.index("HEALTHCHECK") :]):
        assert f"http://127.0.0.1:{port}/readyz" in check


# The node.


def test_lnd_serves_where_the_worker_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    node = worker_settings(monkeypatch).nodes["main"]
    host, _, port = node.address.rpartition(":")
    assert host == "lnd"
    assert port == DEFAULT_LND_ADDRESS.rpartition(":")[2]
    assert f"rpclisten=0.0.0.0:{port}" in LND_CONF
    assert f"tlsextradomain={host}" in LND_CONF


def test_lnd_finds_its_files_where_they_are_mounted() -> None:
    lnd = SERVICES["lnd"]
    targets = {mount.target for mount in lnd.volumes}
    options = dict(re.findall(r"^([\w.-]+)=(.*)$", LND_CONF, re.MULTILINE))

    assert not {word for word in lnd.command if word.startswith("--lnddir")}  # see lnd.conf
    assert options["tlscertpath"].rpartition("/")[0] in targets
    assert options["tlskeypath"].rpartition("/")[0] in targets
    assert options["wallet-unlock-password-file"] in {f"/run/secrets/{s}" for s in lnd.secrets}
    assert lnd.environment["LNCLI_TLSCERTPATH"] == options["tlscertpath"]
    assert f"--configfile={next(bind.target for bind in lnd.binds)}" in lnd.command


def test_lnd_and_the_worker_share_the_certificate_and_nothing_else() -> None:
    shared = {mount.source for mount in WORKER.volumes} & {
        mount.source for mount in SERVICES["lnd"].volumes
    }
    assert shared == {"lnd-tls"}


def test_the_macaroons_that_the_documents_bake_are_roles() -> None:
    (baked,) = re.findall(
        r"bake-macaroons\.sh secrets/macaroons ?([a-z ]*)$", DEPLOYMENT, re.MULTILINE
    )
    assert set(baked.split()) <= {*Role}


# Versions.


def test_what_runs_is_what_the_suite_runs() -> None:
    assert version_of("lnd") == f"v{LND.version}"
    for service in ("temporal", "temporal-schema", "temporal-namespace"):
        assert version_of(service) == TEMPORAL_SERVER.version
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert version_of("worker") == project["version"]


@pytest.mark.skipif(not shutil.which("docker"), reason="docker is not installed")
def test_compose_itself_takes_the_file() -> None:
    if subprocess.run(["docker", "compose", "version"], check=False).returncode:
        pytest.skip("docker has no compose on this machine")
    for files in ((COMPOSE_FILE,), (COMPOSE_FILE, ROOT / "deploy" / "compose.bitcoind.yml")):
        named = [word for file in files for word in ("--file", str(file))]
        subprocess.run(
            ["docker", "compose", *named, "config", "--quiet"],
            env=os.environ | OPERATOR,
            check=True,
        )
