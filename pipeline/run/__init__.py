"""One run in progress: dispatcher, links to the hosts, log files, run store."""
