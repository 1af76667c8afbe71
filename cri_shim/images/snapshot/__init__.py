"""Root file systems: unpacked layers, and overlay mounts over them, idmapped where needed."""
