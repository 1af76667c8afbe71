"""Cgroup knobs of a grant: the squeeze ladder."""
