"""Files, folders, caches and processes: what any room may use and what uses no other room."""
