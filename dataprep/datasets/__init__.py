"""Turn published data into chat rows."""
