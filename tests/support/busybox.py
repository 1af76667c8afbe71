"""A small real image: Debian's static busybox under the names of its applets."""

import subprocess
from functools import lru_cache

from tests.support.image import BuiltImage, Layer, directory, hard_link, member

BUSYBOX = "/usr/bin/busybox"
DIRECTORIES = ("bin", "dev", "etc", "home", "proc", "root", "run", "sys", "usr", "var")
PASSWD = b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home:/bin/sh\n"
GROUP = b"root:x:0:\nuser:x:1000:\nextra:x:2000:user\n"


@lru_cache
def layer() -> Layer:
    """One layer: busybox, a hard link for each applet, passwd and group."""
    with open(BUSYBOX, "rb") as file:
        busybox = file.read()
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True)
    names = sorted(set(applets.stdout.split()) - {"busybox"})
    return Layer.of(
        *[directory(name) for name in DIRECTORIES],
        directory("tmp", mode=0o1777),
        member("bin/busybox", busybox, mode=0o755),
        *[hard_link(f"bin/{name}", "bin/busybox") for name in names],
        member("etc/passwd", PASSWD),
        member("etc/group", GROUP),
    )


def image(**config: object) -> BuiltImage:
    """The image; `config` are fields of its OCI config such as Cmd, Env, User."""
    defaults: dict[str, object] = {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"]}
    return BuiltImage([layer()], defaults | config)
