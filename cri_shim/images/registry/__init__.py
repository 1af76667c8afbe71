"""Speaking to registries: endpoints, TLS, credentials, tokens, requests, resumed downloads."""
