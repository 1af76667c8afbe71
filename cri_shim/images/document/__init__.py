"""Pure: references, manifests, indexes, configurations and platforms, as checked values."""
