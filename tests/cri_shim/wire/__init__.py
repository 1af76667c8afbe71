"""Tests of the pure protocols: dialogues byte for byte, properties, broken input."""
