"""gRPC: serves `berth.admission.v1` to the shim, `berth.node.v1` to consumers and the CLI."""
