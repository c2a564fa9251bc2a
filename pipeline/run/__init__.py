"""One run in progress: dispatcher, links to the hosts, log server, run store."""
