"""Our .proto files: the stubs are fresh, and every field is where the protocol has it."""

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor

ROOT = Path(__file__).resolve().parents[2]
TABLES = ROOT / "tests" / "golden" / "wire"
MODULES = {"cri.runtime.v1.json": "berth.pb.runtime_v1_pb2"}
"""The protocols we speak so far; a table joins with its package."""

SCALARS = {
    FieldDescriptor.TYPE_STRING: "string",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_BOOL: "bool",
    FieldDescriptor.TYPE_INT32: "int32",
    FieldDescriptor.TYPE_INT64: "int64",
    FieldDescriptor.TYPE_UINT32: "uint32",
    FieldDescriptor.TYPE_UINT64: "uint64",
    FieldDescriptor.TYPE_DOUBLE: "double",
    FieldDescriptor.TYPE_FLOAT: "float",
}


def test_generated_stubs_are_fresh(tmp_path: Path) -> None:
    (tmp_path / "berth" / "pb").mkdir(parents=True)
    subprocess.run([sys.executable, ROOT / "scripts" / "protos.py", tmp_path], check=True)
    made = sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*_pb2*.py*"))
    kept = sorted(p.relative_to(ROOT) for p in ROOT.glob("berth/pb/*_pb2*.py*"))
    assert made == kept
    stale = [str(p) for p in made if (tmp_path / p).read_bytes() != (ROOT / p).read_bytes()]
    assert stale == [], "run `make protos`"


@pytest.fixture(params=MODULES)
def pair(request: pytest.FixtureRequest) -> tuple[dict[str, Any], FileDescriptor]:
    table = json.loads((TABLES / request.param).read_text())
    return table, importlib.import_module(MODULES[request.param]).DESCRIPTOR


def test_package_and_services(pair: tuple[dict[str, Any], FileDescriptor]) -> None:
    table, ours = pair
    assert ours.package == table["wire_package"]
    described = {
        name: [
            [m.name, m.input_type.name, "stream " * m.server_streaming + m.output_type.name]
            for m in service.methods
        ]
        for name, service in ours.services_by_name.items()
    }
    assert described == table["services"]


def test_messages_field_by_field(pair: tuple[dict[str, Any], FileDescriptor]) -> None:
    table, ours = pair
    wanted = {
        name: sorted(
            [f[0], f[1], f[2].replace(" ", "") if "map<" in f[2] else f[2]] for f in m["fields"]
        )
        for name, m in table["messages"].items()
    }
    assert {n: fields(m) for n, m in ours.message_types_by_name.items()} == wanted


def test_enums(pair: tuple[dict[str, Any], FileDescriptor]) -> None:
    table, ours = pair
    found = {name: values(e) for name, e in ours.enum_types_by_name.items()}
    for message in ours.message_types_by_name.values():
        found |= {f"{message.name}.{e.name}": values(e) for e in message.enum_types}
    assert found == table["enums"]


def values(enum: EnumDescriptor) -> dict[str, int]:
    return {v.name: v.number for v in enum.values}


def fields(message: Descriptor) -> list[list[Any]]:
    return sorted([f.number, f.name, type_name(f)] for f in message.fields)


def type_name(field: FieldDescriptor) -> str:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        key, value = (type_name(f) for f in message.fields)
        return f"map<{key},{value}>"
    prefix = "repeated " if field.is_repeated else ""
    if field.enum_type is not None:
        holder = field.enum_type.containing_type
        return prefix + (f"{holder.name}." if holder else "") + field.enum_type.name
    return prefix + (message.name if message is not None else SCALARS[field.type])
