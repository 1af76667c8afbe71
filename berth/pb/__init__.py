"""Generated from proto/ by `make protos`; edit nothing here."""
