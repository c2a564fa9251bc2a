"""What a link tells the dispatcher."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from pipeline.model.jobs import Outcome

if TYPE_CHECKING:
    from pipeline.run.link import Link

__all__ = ["LinkEnded", "LinkReports", "Report"]


class Report(NamedTuple):
    """A `start` (with its pid) or a `result` (with its outcome) of an attempt, checked."""

    job_id: int
    attempt: int
    pid: int = 0
    outcome: Outcome | None = None


class LinkReports:
    """
    What a host reported in one go, in order; all that the ended attempts wrote is in the log.

    Attributes:
        seq: Number of the last result among them, to be acknowledged; 0 if there is none.
    """

    __slots__ = ("link", "reports", "seq")

    def __init__(self, link: "Link", reports: Sequence[Report], seq: int) -> None:
        """Bind reports to the link they came over."""
        self.link = link
        self.reports = reports
        self.seq = seq


class LinkEnded:
    """
    A link is gone.

    Attributes:
        reason: Empty after an orderly goodbye.
        is_permanent: The host broke the protocol; nothing it says is believed any more.
    """

    __slots__ = ("is_permanent", "link", "reason")

    def __init__(self, link: "Link", reason: str, is_permanent: bool) -> None:
        """Bind the end to its link."""
        self.link = link
        self.reason = reason
        self.is_permanent = is_permanent
