"""Near but wrong chunks for each training query."""
