"""
Every error of ours, in one tree.

    PipelineError                     what a user may see as one line
    ├── UsageError            exit 2  the command line, a configuration, an input file
    │   ├── ConfigError               pipeline.cfg or a task file
    │   ├── InputError                an input of a recipe
    │   ├── RecipeNotFound            no such recipe, task or class
    │   ├── HostNameError             not the name of a host or of a user
    │   ├── MapfileError              a mapfile
    │   └── ParsetError               a parset or a cluster description
    ├── RecipeFailed          exit 1  a recipe that another one called did not succeed
    ├── HostError             exit 3  one host cannot be used; says whether trying again may help
    │   ├── LoginRefused              the host is there and does not let us in
    │   ├── HostKeyError              the host is not the one we know
    │   └── AgentError                logged in, but the agent does not start or broke the protocol
    ├── StoreError            exit 4  the run store cannot be written
    └── FrameError                    bytes that are no frame of ours; becomes an AgentError
"""

from __future__ import annotations

TYPE_CHECKING = False  # see node/script.py
if TYPE_CHECKING:
    from typing import Iterable

__all__ = [
    "AgentError",
    "ConfigError",
    "FrameError",
    "HostError",
    "HostKeyError",
    "HostNameError",
    "InputError",
    "LoginRefused",
    "MapfileError",
    "ParsetError",
    "PipelineError",
    "RecipeFailed",
    "RecipeNotFound",
    "StoreError",
    "UsageError",
]


class PipelineError(Exception):
    """An error a user may see; `str(error)` is one line per problem."""

    exit_code = 1


class UsageError(PipelineError):
    """The user's mistake: where, what was found, what was expected, what to do."""

    exit_code = 2

    def __init__(self, problems: str | Iterable[str]) -> None:
        """Take one problem or all problems of a file, a line each."""
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class ConfigError(UsageError):
    """pipeline.cfg or a task file cannot be used."""


class InputError(UsageError):
    """An input of a recipe is unknown, missing or of the wrong type."""


class RecipeNotFound(UsageError):
    """A recipe, task or class is in none of the places searched; the message lists them."""


class HostNameError(UsageError):
    """Not the name of a host or of a user."""


class MapfileError(UsageError):
    """A mapfile cannot be read; carries file:line:column."""


class ParsetError(UsageError):
    """A parset cannot be read, or a value is not of the type asked for."""


class RecipeFailed(PipelineError):
    """A recipe that another recipe called ended with a non-zero status."""


class HostError(PipelineError):
    """
    One host cannot be used.

    Attributes:
        host: The name the jobs use for it.
        is_permanent: Trying again would give the same answer.
    """

    exit_code = 3

    def __init__(self, host: str, reason: str, *, is_permanent: bool = False) -> None:
        """Build the one line `host: reason`."""
        super().__init__(f"{host}: {reason}")
        self.host = host
        self.reason = reason
        self.is_permanent = is_permanent


class LoginRefused(HostError):
    """The host is there and does not let us in; never tried again."""

    def __init__(self, host: str, reason: str) -> None:
        """Build a permanent verdict."""
        super().__init__(host, reason, is_permanent=True)


class HostKeyError(LoginRefused):
    """The host's key is unknown or has changed; never tried again."""


class AgentError(HostError):
    """The login worked but the agent does not start, or what it sends is not our protocol."""


class StoreError(PipelineError):
    """The run store cannot be written or read; the message names the file."""

    exit_code = 4


class FrameError(PipelineError):
    """Bytes that are no frame of ours."""
