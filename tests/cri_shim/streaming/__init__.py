"""Tests of the streaming server: real sockets, real processes, real clients."""
