"""Devices of the node: inventory, health, CDI files."""
