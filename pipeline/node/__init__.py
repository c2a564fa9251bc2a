"""What runs on a host. Standard library only, Python 3.8 and later."""

CHANNEL = "channel"  # the log host a node script is given when its agent listens on an inherited socket
