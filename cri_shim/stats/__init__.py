"""Usage: cgroup and disk readings into CRI stats and cAdvisor-shaped series."""
