"""The demonstration: `make demo` does the main job on a real image and cleans up after itself."""
