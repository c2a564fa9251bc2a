"""What runs on a host. Standard library only, Python 3.8 and later."""

CHANNEL = "channel"  # the log host a node script is given when its agent listens on an inherited socket
MARK = "PIPELINE_ATTEMPT"  # environment variable that tells whose a stray process is
MAX_PACKET_BYTES = 32 << 10  # of a channel's payload in one packet; longer messages travel in pieces (node/script.py)
MAX_OUTPUTS_BYTES = 8 << 20  # of a node script, as JSON; in the result's JSON up to six times that of 64 MiB
PER_JOB = (MARK, "PIPELINE_JOB_ID", "PIPELINE_ARGUMENTS")  # what differs in the environments of two like jobs
