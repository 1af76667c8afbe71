"""TLS of registries: own authorities and client certificates, by host.

A directory for each host, as docker and containers have it: `<certs_dir>/<host[:port]>/` with any
`*.crt` (authorities, beside the system's), and `client.cert` with `client.key`.
"""

import ssl
from pathlib import Path

from berth.base.errors import FailedPrecondition


class Certificates:
    """Contexts are made at each pull, so that a renewed certificate needs no restart."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory

    def context(self, host: str) -> ssl.SSLContext | None:
        """The context for `host[:port]`; None where the system's authorities are all there is.

        FailedPrecondition names a file that cannot be used.
        """
        directory = self._directory / host if self._directory is not None else None
        if directory is None or not directory.is_dir():
            return None
        # Own authorities come beside the system's, not instead of them, as docker has it. Host
        # names are checked in any case.
        context = ssl.create_default_context()
        certificate, key = directory / "client.cert", directory / "client.key"
        using = directory
        try:
            for using in sorted(directory.glob("*.crt")):
                context.load_verify_locations(using)
            if certificate.exists():
                using = certificate
                context.load_cert_chain(certificate, key)
        except OSError as error:  # ssl.SSLError is one
            raise FailedPrecondition(
                f"registry certificate {using} cannot be used: {error}: mend it or take it away"
            ) from error
        return context
