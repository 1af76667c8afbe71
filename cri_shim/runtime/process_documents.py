"""The process part of containers' OCI documents, kept for the containers that run commands."""

import asyncio
import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

from cri_shim.model.ids import ContainerId

Document = dict[str, Any]


class ProcessDocuments:
    """Documents of the containers in which commands ran last: exec probes come every second."""

    def __init__(self, size: int = 64) -> None:
        self._size = size
        self._kept: OrderedDict[ContainerId, Document] = OrderedDict()

    async def get(self, id_: ContainerId, bundle: Path) -> Document:
        """`{"process": …}` of the document in `bundle` that the container was made from."""
        document = self._kept.pop(id_, None)
        if document is None:
            # Read once: the document is what the container was made from, and never changes.
            data = await asyncio.to_thread((bundle / "config.json").read_bytes)
            document = {"process": json.loads(data)["process"]}
        self._kept[id_] = document
        if len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return document
