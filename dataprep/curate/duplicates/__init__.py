"""Find rows that repeat others, exactly or nearly."""
