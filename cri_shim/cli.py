"""The command `cri-shim`.

Modules that load slowly (the daemon, gRPC stubs) are imported by the commands that need them.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

import grpc

from berth.base import configuration
from berth.base.errors import BerthError
from berth.base.findings import exit_status
from berth.base.tables import aligned
from cri_shim.config import Config, load


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status. Errors are one line on stderr."""
    options = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except BerthError as error:
        return _complain(str(error))
    except grpc.RpcError as error:
        return _complain(_rpc_text(error, options))
    except KeyboardInterrupt:
        return 130  # 128 + SIGINT, as shells have it
    except BrokenPipeError:  # `cri-shim ps | head`: the reader has seen enough
        return 0


def _complain(text: str) -> int:
    print(f"cri-shim: {text}", file=sys.stderr)
    return 1


def _rpc_text(error: grpc.RpcError, options: argparse.Namespace) -> str:
    code = error.code()
    if code is grpc.StatusCode.UNAVAILABLE:
        socket = _load(options).listen
        return f"no daemon answers on {socket}: start it with `cri-shim serve`"
    return str(error.details())


def _load(options: argparse.Namespace) -> Config:
    return load(options.config, options.set)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="cri-shim", description="A Kubernetes container runtime (CRI runtime.v1)."
    )
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", type=Path, help="configuration file")
    common.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], int], help: str,
            under: "argparse._SubParsersAction[argparse.ArgumentParser]" = commands,
            ) -> argparse.ArgumentParser:  # fmt: skip
        sub = under.add_parser(name, help=help, description=help, parents=[common])
        sub.set_defaults(command=command)
        return sub

    add("serve", _serve, "run the daemon")
    add("check", _check, "look at this host: one line a finding, with the remedy")
    show = add("config", _config, "print the effective configuration")
    show.add_argument("--default", action="store_true", help="the defaults instead")
    add("ps", _ps, "list pods and their containers")
    spec = add("spec", _spec, "print the OCI document of a container")
    spec.add_argument("id")
    add("version", _version, "print the version")
    image = commands.add_parser("image", help="images in the store")
    images = image.add_subparsers(required=True, metavar="COMMAND")
    loading = add("load", _image_load, "load an OCI layout, OCI archive or docker archive", images)
    loading.add_argument("path", type=Path)
    loading.add_argument("--name", default="", help="name for an image that brings none")
    save = add("save", _image_save, "write an image to an OCI archive", images)
    save.add_argument("reference")
    save.add_argument("path", type=Path)
    pull = add("pull", _image_pull, "pull an image from its registry", images)
    pull.add_argument("reference")
    add("ls", _image_ls, "list images", images)
    remove = add("rm", _image_rm, "remove an image with all its names", images)
    remove.add_argument("reference")
    return parser


def _serve(options: argparse.Namespace) -> int:
    from cri_shim.daemon import serve  # heavy: only the daemon needs it

    return asyncio.run(serve(_load(options)))


def _check(options: argparse.Namespace) -> int:
    from cri_shim.preflight import findings

    found = asyncio.run(findings(_load(options)))
    for finding in found:
        print(finding)
    return exit_status(found)


def _config(options: argparse.Namespace) -> int:
    config = Config() if options.default else _load(options)
    print(configuration.render(config), end="")
    return 0


def _version(options: argparse.Namespace) -> int:
    print(f"cri-shim {version('berth')} (CRI runtime.v1)")
    return 0


def _ps(options: argparse.Namespace) -> int:
    from cri_shim import client

    with client.connect(_load(options).listen) as shim:
        rows = client.process_rows(shim)
    print(aligned([("POD", "STATE", "CONTAINER", "STATE", "ID", "IMAGE"), *rows]))
    return 0


def _spec(options: argparse.Namespace) -> int:
    from cri_shim import client

    with client.connect(_load(options).listen) as shim:
        document = json.loads(client.container_spec(shim, options.id))
    json.dump(document, sys.stdout, indent=2)
    print()
    return 0


def _image_load(options: argparse.Namespace) -> int:
    from cri_shim import client

    with client.connect(_load(options).listen) as shim:
        client.show_progress(client.load_image(shim, options.path, options.name))
    return 0


def _image_pull(options: argparse.Namespace) -> int:
    from cri_shim import client

    with client.connect(_load(options).listen) as shim:
        client.show_progress(client.pull_image(shim, options.reference))
    return 0


def _image_save(options: argparse.Namespace) -> int:
    from cri_shim import client

    with client.connect(_load(options).listen) as shim:
        client.save_image(shim, options.reference, options.path)
    return 0


def _image_rm(options: argparse.Namespace) -> int:
    from cri_shim import client

    with client.connect(_load(options).listen) as shim:
        client.remove_image(shim, options.reference)
    return 0


def _image_ls(options: argparse.Namespace) -> int:
    from cri_shim import client

    with client.connect(_load(options).listen) as shim:
        rows = client.image_rows(shim)
    print(aligned([("NAME", "ID", "SIZE"), *rows]))
    return 0


def run() -> NoReturn:
    """The console script."""
    sys.exit(main())
