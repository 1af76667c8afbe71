"""A process that attaches a pod to a CNI network and detaches it; a plugin of it kills it.

die_in_plugin.py CONF_DIR BIN_DIR RECORDS HOST_NETNS POD_NETNS SANDBOX
"""

import asyncio
import sys
from pathlib import Path

from berth.linux.tasks import Tasks
from cri_shim.network.cni.network import CniNetwork, CniSettings
from cri_shim.network.hostports import Claims
from cri_shim.network.pod import PodNet
from tests.cri_shim.network.cni_directory import REAL
from tests.cri_shim.network.hosts import FileDocuments, port


async def main(conf: str, plugins: str, records: str, host: str, netns: str, sandbox: str) -> None:
    settings = CniSettings(Path(conf), (Path(plugins), REAL), 20, netns=host)
    pod = PodNet(sandbox, "pod1", "default", "uid", netns, (port(80, 8080),))
    async with Tasks() as tasks:
        network = CniNetwork(settings, FileDocuments(Path(records)), Claims(), tasks)
        await network.attach(pod)
        await network.detach(pod, {})
        await network.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
