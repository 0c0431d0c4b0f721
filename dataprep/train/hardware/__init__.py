"""Where a student is trained: one device, or several processes with one each."""
