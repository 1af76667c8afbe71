"""The plan as a checked value: groups, windows, consumers; read whole or refused whole (2.10)."""
