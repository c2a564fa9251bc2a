"""Map algebra: functions over the entries of mapfiles. Pure."""
