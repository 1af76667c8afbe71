"""What a pod consists of on the host, part by part, and the one teardown that takes it away."""
