"""JSON for the OCI runtime: config.json and process.json as bytes."""

import json
import re
from collections.abc import Mapping
from typing import Any

_SURROGATES = re.compile("[\ud800-\udfff]")


def encode(document: Mapping[str, Any]) -> bytes:
    """The document as UTF-8.

    JSON has no other bytes: crun refuses a file with them, and runc (Go) reads each as U+FFFD.
    So bytes that came in by surrogateescape leave as U+FFFD under both, as they do from every
    runtime written in Go.
    """
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _SURROGATES.sub("�", text).encode()
