"""Images in files: OCI layouts and docker archives, loaded and saved."""
