"""What is served first and what is given back: the frame, the built-in policies, their check."""
