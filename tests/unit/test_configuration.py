"""Settings come from arguments, the environment and a file; secrets only by path."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

import settings as configuration
from devnet.simulated.security import make_certificate
from fulgurite.errors import CredentialError, InvalidRequestError, UnsupportedVersionError
from fulgurite.sealing import UnsealingKey
from nodes.config import LndConfig
from nodes.lnd import versions
from nodes.lnd.connection import LndConnection
from nodes.lnd.versions import Version
from nodes.lndconnect import read_lndconnect
from nodes.roles import PERMISSIONS, ROOT_KEY_IDS, Role

MACAROON = b"\x02\x01\x03lnd-secret-macaroon"
SECRETS = (MACAROON.hex(), base64.urlsafe_b64encode(MACAROON).decode().rstrip("="), "lnd-secret")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(configuration.CONFIG_VARIABLE, raising=False)


@pytest.fixture
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "fulgurite.toml"
    monkeypatch.setenv(configuration.CONFIG_VARIABLE, str(path))
    return path


def uri(*, der: bytes | None = None, host: str = "lnd.example:10010") -> str:
    query = f"macaroon={base64.urlsafe_b64encode(MACAROON).decode().rstrip('=')}"
    if der:
        query += f"&cert={base64.urlsafe_b64encode(der).decode().rstrip('=')}"
    return f"lndconnect://{host}?{query}"


def test_nothing_set_is_a_working_default() -> None:
    settings = configuration.load()

    assert settings.temporal_address == "127.0.0.1:7233"
    assert settings.nodes == {}


def test_the_environment_goes_before_the_file_and_completes_it(
    config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config_file.write_text(
        """
        temporal_address = "temporal:7233"
        log_level = "warning"
        [nodes.alice]
        network = "regtest"
        tls_cert_path = "/alice/tls.cert"
        [nodes.bob]
        network = "mainnet"
        tls_cert_path = "/bob/tls.cert"
        approval_above_sat = 1000
        """
    )
    monkeypatch.setenv("FULGURITE_LOG_LEVEL", "debug")
    monkeypatch.setenv("FULGURITE_NODES__ALICE__ADDRESS", "alice:10009")
    monkeypatch.setenv("FULGURITE_NODES__CAROL__NETWORK", "signet")
    monkeypatch.setenv("FULGURITE_NODES__CAROL__TLS_CERT_PATH", "/carol/tls.cert")

    settings = configuration.load()

    assert (settings.temporal_address, settings.log_level) == ("temporal:7233", "debug")
    assert sorted(settings.nodes) == ["alice", "bob", "carol"]
    assert settings.nodes["alice"].address == "alice:10009"
    assert settings.nodes["alice"].tls_cert_path == Path("/alice/tls.cert")
    assert settings.nodes["bob"].approval_above_sat == 1000
    assert settings.nodes["carol"].network == "signet"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("temporal_adress = 'x'", "temporal_adress"),
        ("log_level = 'verbose-s3cret'", "log_level"),
        ("max_followed_payments = 0", "max_followed_payments"),
        ("max_cached_workflows = 0", "max_cached_workflows"),
        ("[nodes.alice]\nnetwork = 's3cret'\ntls_cert_path = 'x'", "nodes.alice.network"),
        ("[nodes.alice]\nnetwork = 'regtest'", "tls_cert_path"),
        ("[nodes.alice]\nmacaroon = 's3cret'", "nodes.alice.macaroon"),
        ("[nodes.alice]\nnetwork='regtest'\ntls_cert_path='x'\naddress='http://s3cret'", "address"),
        ("not toml s3cret", configuration.CONFIG_VARIABLE),
    ],
)
def test_a_mistake_names_the_setting_and_no_value(config_file: Path, text: str, named: str) -> None:
    config_file.write_text(text)

    with pytest.raises(InvalidRequestError) as caught:
        configuration.load()
    assert named in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_file_that_is_not_there_is_said_so(config_file: Path) -> None:
    assert not config_file.exists()
    with pytest.raises(InvalidRequestError, match=r"FULGURITE_CONFIG.*fulgurite\.toml"):
        configuration.load()


def test_keys_are_read_from_their_files(tmp_path: Path) -> None:
    key = UnsealingKey.generate()
    path = tmp_path / "key"
    path.write_text(f"{key.secret_text()}\n")
    settings = configuration.Settings(unsealing_key_path=path, temporal_api_key_path=path)

    assert settings.unsealing_key().secret_text() == key.secret_text()
    assert settings.public_sealing_key().text == key.sealing_key.text
    assert settings.temporal_api_key() == key.secret_text()
    assert key.secret_text() not in repr(settings)


def test_a_client_needs_the_public_half_only() -> None:
    key = UnsealingKey.generate().sealing_key

    assert configuration.Settings(sealing_key=key.text).public_sealing_key().text == key.text
    with pytest.raises(InvalidRequestError, match="fulgurite key new"):
        configuration.Settings().unsealing_key()


def test_a_key_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match=r"cannot read .*absent"):
        configuration.Settings(unsealing_key_path=tmp_path / "absent").unsealing_key()


# One node.


def a_node(**fields: Any) -> LndConfig:
    return LndConfig.model_validate({"network": "regtest", "tls_cert_path": "/tls.cert"} | fields)


def test_a_macaroon_is_found_by_its_role_in_the_folder_or_by_name(tmp_path: Path) -> None:
    (tmp_path / "pay.macaroon").write_bytes(MACAROON)
    node = a_node(macaroon_dir=tmp_path, macaroons={"observe": tmp_path / "readonly.macaroon"})

    assert node.macaroon_path(Role.PAY) == tmp_path / "pay.macaroon"
    assert node.macaroon_path(Role.OBSERVE) == tmp_path / "readonly.macaroon"
    assert node.macaroon_path(Role.CLOSE) is None


@pytest.mark.parametrize(
    "fields",
    [
        {"tls_cert_path": None},
        {"address": "127.0.0.1"},
        {"address": "https://127.0.0.1:10009"},
        {"approval_above_sat": -1},
        {"macaroons": {"admin": "/admin.macaroon"}},
        {"network": "liquid"},
    ],
)
def test_a_node_that_cannot_work_is_no_configuration(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        a_node(**fields)


def test_each_role_has_a_root_key_of_its_own_and_none_may_forget_or_drain() -> None:
    assert set(PERMISSIONS) == set(ROOT_KEY_IDS) == set(Role)
    assert len(set(ROOT_KEY_IDS.values())) == len(Role)
    allowed = {method.rpartition("/")[2] for methods in PERMISSIONS.values() for method in methods}
    assert not allowed & {"AbandonChannel", "DeletePayment", "BakeMacaroon", "SendCoins"}


# lndconnect.


def test_an_lndconnect_uri_says_all_there_is_to_know() -> None:
    pem, _ = make_certificate("alice")
    der = base64.b64decode(b"".join(pem.splitlines()[1:-1]))
    read = read_lndconnect(f"\n{uri(der=der)}\n")

    assert read.address == "lnd.example:10010"
    assert read.macaroon == MACAROON
    assert read.certificate_pem is not None
    assert read.certificate_pem.split() == pem.split()


def test_without_a_certificate_or_a_port_the_public_ones_are_meant() -> None:
    read = read_lndconnect(uri(host="lnd.example"))

    assert (read.certificate_pem, read.address) == (None, "lnd.example:10009")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "lndconnect://",
        uri().replace("lndconnect", "https"),
        uri(host=""),
        uri(host="lnd.example:port"),
        uri().replace("macaroon=", "makaroon="),
        uri().replace("?macaroon=", "?macaroon=é"),
        "lndconnect://h:1?macaroon=A",
    ],
)
def test_what_is_no_lndconnect_uri_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(CredentialError, match="lndconnect://host:port") as caught:
        read_lndconnect(text)
    assert not any(secret in str(caught.value) for secret in SECRETS)
    assert caught.value.__cause__ is None


def test_nothing_prints_the_macaroon_of_an_lndconnect_uri(tmp_path: Path) -> None:
    path = tmp_path / "alice.lndconnect"
    path.write_text(uri())
    connection = LndConnection("alice", LndConfig(network="regtest", lndconnect_path=path))
    printed = f"{read_lndconnect(uri())!r} {connection!r} {connection.config!r}"

    assert connection.holds(Role.CLOSE)
    assert not any(secret in printed for secret in SECRETS)


# Versions.


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("0.21.2-beta commit=v0.21.2-beta", Version(0, 21, 2)),
        ("v0.18.0-beta.rc1", Version(0, 18, 0)),
        ("0.100.10-beta", Version(0, 100, 10)),
    ],
)
def test_a_version_is_read_and_new_enough(text: str, version: Version) -> None:
    assert versions.require("alice", text) == version


@pytest.mark.parametrize("text", ["0.17.5-beta", "0.9.99-beta"])
def test_an_old_version_is_refused_with_the_feature_that_it_lacks(text: str) -> None:
    with pytest.raises(UnsupportedVersionError, match=r"alice runs LND .*needs 0\..*upgrade"):
        versions.require("alice", text)


@pytest.mark.parametrize("text", ["", "beta", "21"])
def test_an_unreadable_version_is_no_version(text: str) -> None:
    with pytest.raises(UnsupportedVersionError, match="cannot read"):
        versions.require("alice", text)
