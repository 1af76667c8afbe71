"""Who is served first and who gives back: the frame, the built-in policies, their re-check."""
