"""Pod networks: native bridge, CNI, host ports, on hosts made of network namespaces."""
