"""What a service tells systemd about itself (sd_notify(3))."""

import os
import socket


def notify(text: str) -> bool:
    """Send lines such as `READY=1` to $NOTIFY_SOCKET; False where nobody listens.

    One datagram without a reply; a daemon that was started by hand goes on without it.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # the abstract namespace, as unix(7) writes it
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.connect(address)
            sender.sendall(text.encode())
    except OSError:
        return False
    return True
