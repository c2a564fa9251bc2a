"""
How an agent is started on a host and spoken to: one module per way, none imports another.

Each module has `open_session(host, command, login, parameters) -> Session`. It returns once the command has been
started, or raises a `HostError` with the verdict. Nothing of the agent's protocol is known here.
"""
