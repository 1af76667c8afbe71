"""The kubelet side: device plugins, registration, DRA, pod-resources client."""
