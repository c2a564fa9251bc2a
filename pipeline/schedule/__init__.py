"""Which job starts where and when: a pure state machine, fed events, giving back instructions."""
