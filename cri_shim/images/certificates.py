"""TLS of registries: own authorities and client certificates, by host.

A folder for each host, as docker and containers have it: `<certs_dir>/<host[:port]>/` with any
`*.crt` (authorities, beside the system's), and `client.cert` with `client.key`.
"""

import ssl
from pathlib import Path

from berth.base.errors import FailedPrecondition


class Certificates:
    """Contexts are made at each pull, so that a renewed certificate needs no restart."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def context(self, host: str) -> ssl.SSLContext | None:
        """The context for `host[:port]`; None where the system's authorities are all there is.

        FailedPrecondition names a file that cannot be used.
        """
        folder = self._folder / host if self._folder is not None else None
        if folder is None or not folder.is_dir():
            return None
        context = ssl.create_default_context()
        certificate, key = folder / "client.cert", folder / "client.key"
        using = folder
        try:
            for using in sorted(folder.glob("*.crt")):
                context.load_verify_locations(using)
            if certificate.exists():
                using = certificate
                context.load_cert_chain(certificate, key)
        except OSError as error:  # ssl.SSLError is one
            raise FailedPrecondition(
                f"registry certificate {using} cannot be used: {error}: mend it or take it away"
            ) from error
        return context
