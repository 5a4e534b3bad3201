"""`fulgurite key …`: the key that preimages are sealed to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

import settings as configuration
from fulgurite.errors import InvalidRequestError
from fulgurite.sealing import SealingKey, UnsealingKey
from settings import Settings
from starter.cli.documents import PublicKey
from starter.cli.exits import EPILOG, ExitCode
from starter.cli.running import Json, command, err, print_json

app = typer.Typer(help="The key that preimages are sealed to.", no_args_is_help=True)


@app.command(epilog=EPILOG)
@command
async def new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Must not exist yet.")],
    as_json: Json = False,
) -> ExitCode:
    """Makes a key pair: the private half into FILE (mode 0600), the public half printed.

    Workers get the file (FULGURITE_UNSEALING_KEY_PATH), clients that send keysends the
    public half (FULGURITE_SEALING_KEY). Keep a copy: without the file no proof of payment
    can be opened again.
    """
    key = UnsealingKey.generate()
    try:
        handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise InvalidRequestError(
            f"{file} exists, and is not overwritten: proofs may be sealed to it"
        ) from None
    except OSError as error:
        raise InvalidRequestError(f"cannot write {file}: {error.strerror}") from None
    with os.fdopen(handle, "w") as written:
        written.write(f"{key.secret_text()}\n")
    err.print(f"Private half in {file}. Public half:", soft_wrap=True)
    return _printed(key.sealing_key, as_json=as_json)


@app.command(epilog=EPILOG)
@command
async def show(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="[FULGURITE_UNSEALING_KEY_PATH]")
    ] = None,
    as_json: Json = False,
) -> ExitCode:
    """Prints the public half: of FILE, or of the key that is configured."""
    if file:
        return _printed(unsealing_key(file, None).sealing_key, as_json=as_json)
    return _printed(configuration.load().public_sealing_key(), as_json=as_json)


def unsealing_key(file: Path | None, settings: Settings | None) -> UnsealingKey:
    """The private half from a file, or as configured. Raises InvalidRequestError."""
    if file is None:
        return (settings or configuration.load()).unsealing_key()
    try:
        return UnsealingKey(file.read_text())
    except OSError as error:
        raise InvalidRequestError(f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidRequestError(f"{file} holds no key") from None


def _printed(key: SealingKey, *, as_json: bool) -> ExitCode:
    if as_json:
        print_json(PublicKey(sealing_key=key.text))
    else:
        typer.echo(key.text)
    return ExitCode.DONE
