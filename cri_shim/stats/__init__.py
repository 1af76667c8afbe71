"""Usage: readings of control groups, networks and disks, as plain values.

Readers and the two caches (CPU rates, disk use) belong here, and the table of cAdvisor-shaped
series. CRI messages do not: the edge makes them of these values.
"""
