"""What this node has: blobs by digest, images by id and name, and their records."""
