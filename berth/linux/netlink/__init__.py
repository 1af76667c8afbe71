"""Links, addresses, routes and queueing disciplines of the kernel, by rtnetlink(7).

A change is a described request (`link.add_bridge`, `address.add`, ...) that a `Netlink` connection
sends; several go in one round trip. pyroute2 knows the formats of the messages; the socket is ours,
because the library's own brings an asyncio event loop (three descriptors) to every thread that
uses it, and opens its socket in the network namespace of whichever thread that is.

Importing any module of this package imports pyroute2, which takes 8.5 MB of memory and a tenth of
a second: import it where a network is made, not where one is configured. This file imports none.
"""

import ipaddress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
