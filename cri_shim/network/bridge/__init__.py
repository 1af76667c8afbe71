"""The native bridge: leases, one veth pair a pod, an nftables table of its own.

Here: everything `[network] mode = "bridge"` does, by netlink and one text of nftables rules.
Not here: host port claims, which CNI pods make too (`network.hostports`).
"""
