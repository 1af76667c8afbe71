"""Append-only event log, checksummed; the ledger is rebuilt from it."""
