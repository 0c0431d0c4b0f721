"""Code that every stage uses: errors, records, ledger, JSON Lines, sampling."""
