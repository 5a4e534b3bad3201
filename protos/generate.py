"""Generates the Python code beside each .proto; with `--check`, fails when it is stale."""

from __future__ import annotations

import filecmp
import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(path.relative_to(ROOT) for path in (ROOT / "protos").rglob("*.proto"))


def generate(into: Path) -> list[Path]:
    """Writes modules and their type stubs under `into`; returns their relative paths."""
    well_known = str(files("grpc_tools") / "_proto")
    outputs = [
        f"--{plugin}_out={into}" for plugin in ("python", "mypy", "grpc_python", "mypy_grpc")
    ]
    arguments = ["protoc", f"-I{ROOT}", f"-I{well_known}", *outputs, *map(str, SOURCES)]
    if code := protoc.main(arguments):
        raise SystemExit(code)
    return sorted(path.relative_to(into) for path in (into / "protos").rglob("*_pb2*.py*"))


def main() -> None:
    if "--check" not in sys.argv:
        print("\n".join(map(str, generate(ROOT))))
        return
    with tempfile.TemporaryDirectory() as scratch:
        fresh = generate(Path(scratch))
        stale = filecmp.cmpfiles(scratch, ROOT, list(map(str, fresh)), shallow=False)
        if wrong := stale[1] + stale[2]:
            raise SystemExit(f"stale: {', '.join(wrong)}; run `make protos` and commit")


if __name__ == "__main__":
    main()
