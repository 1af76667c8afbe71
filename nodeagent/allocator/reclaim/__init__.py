"""Notices to borrowers, and the offers they answer with."""
