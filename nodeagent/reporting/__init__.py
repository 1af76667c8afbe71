"""What the node tells: Prometheus series, Kubernetes objects, usage journal, console page."""
