"""The process that unpacks layers: decompression and hostile archives stay out of the daemon.

It is started with the daemon's pid and ends with the daemon. It reads one job a line from its
standard input and replies to each by one line:

    {"blob": PATH, "target": DIRECTORY, "onto": false, "diff_id": DIGEST, "limits": {…}}
    {"size": 1, "inodes": 2, "implied": [], "opaque": false} or {"bad": TEXT} or {"failed": TEXT}

`bad` means that the image is to blame, `failed` that the host is. The target directory is made
here, or with `onto` is there and keeps what the blob does not replace; after a reply other than
the first its remains are the caller's to remove.
"""

import ctypes
import json
import os
import signal
import sys
from dataclasses import asdict
from typing import Any

from cri_shim.images.errors import BadImage
from cri_shim.images.unpack.extract import Unpacked, extract
from cri_shim.images.unpack.stream import LayerStream, Limits

_PR_SET_PDEATHSIG = 1


def unpack(blob: str, target: str, diff_id: str, limits: Limits, onto: bool = False) -> Unpacked:
    """Unpack one layer's blob into a directory and check the digest of its content."""
    if not onto:
        os.mkdir(target, 0o755)
    with open(blob, "rb", buffering=0) as file:
        stream = LayerStream(file, diff_id.partition(":")[0], limits)
        unpacked = extract(stream, target, limits)
        found = stream.finish()
    if found != diff_id:
        raise BadImage(f"the unpacked content has digest {found}, the image promises {diff_id}")
    return unpacked


def respond(job: dict[str, Any]) -> dict[str, Any]:
    """Do one job; whatever goes wrong is a message."""
    try:
        limits = Limits(**job["limits"])
        return asdict(unpack(job["blob"], job["target"], job["diff_id"], limits, job["onto"]))
    except BadImage as error:
        return {"bad": str(error)}
    except (OverflowError, ValueError) as error:
        # From the os module, for an owner or a time that no system call takes.
        return {"bad": f"a number in the archive is out of range: {error}"}
    except RecursionError:
        return {"bad": "directories are nested too deep"}
    except OSError as error:
        return {"failed": str(error.strerror or error)}
    except MemoryError:
        return {"failed": "out of memory"}


def main() -> None:
    # A daemon killed by -9 says nothing to its children. Without this the worker would go on to
    # fill a directory that the next daemon removes at its start.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        return  # the daemon died before: its successor may be cleaning up already
    os.umask(0)  # modes are the image's
    for line in sys.stdin:
        print(json.dumps(respond(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
