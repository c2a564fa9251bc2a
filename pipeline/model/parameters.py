"""The times and limits of a run, in one place; each can be set in `[remote]` of pipeline.cfg under its own name."""

from dataclasses import dataclass

__all__ = ["Parameters"]


@dataclass(frozen=True, slots=True)
class Parameters:
    """
    Times in seconds, sizes in bytes.

    Attributes:
        connect_timeout: For the TCP connection to a host.
        banner_timeout: For the SSH banner after it.
        login_timeout: For keys and authentication after that.
        hello_timeout: From the start of the remote command to the agent's hello.
        verdict_timeout: For all attempts to reach a host together.
        connects_at_once: Connections being made at one time, to all hosts.
        connects_per_sshd: The same, to one address and port.
        connect_retries: Further attempts to reach a host; none after a refused login or a wrong host key.
        retry_wait: Wait before the first of them; doubles each time, +- 50 %.
        retry_wait_max: Longest wait between attempts.
        tcp_user_timeout: Unacknowledged data closes the connection after it.
        beat_interval: Between two signs of life, both ways.
        dead_after: Without a sign of life from a host it is lost.
        lease: Without a sign of life from the master the agent ends its jobs and itself.
        kill_grace: Between TERM and KILL.
        batch_bytes, batch_interval: The agent sends its output when it has so much, or after so long.
        host_queue_bytes: What one host may send before the master has read it; with openssh, ssh itself decides.
    """

    connect_timeout: float = 10.0
    banner_timeout: float = 10.0
    login_timeout: float = 20.0
    hello_timeout: float = 20.0
    verdict_timeout: float = 45.0
    connects_at_once: int = 32
    connects_per_sshd: int = 4
    connect_retries: int = 5
    retry_wait: float = 1.0
    retry_wait_max: float = 30.0
    tcp_user_timeout: float = 20.0
    beat_interval: float = 5.0
    dead_after: float = 30.0
    lease: float = 60.0
    kill_grace: float = 5.0
    batch_bytes: int = 64 << 10
    batch_interval: float = 0.02
    host_queue_bytes: int = 1 << 20
