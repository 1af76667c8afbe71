"""One suite for each Protocol, run over every implementation of it."""
