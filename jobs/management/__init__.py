"""Management of processing."""
