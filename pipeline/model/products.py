"""What a mapfile is made of: which data product is on which host, and whether it is to be skipped."""

from collections.abc import Iterable
from dataclasses import dataclass

from pipeline.errors import MapfileError

__all__ = ["DataProduct", "MultiDataProduct", "names_of"]


@dataclass(slots=True)
class DataProduct:
    """
    One file on one host.

    Attributes:
        host: Name of the host.
        file: Its path as the host sees it; bytes that are no UTF-8 are surrogate escapes.
        skip: No job is to get it. The entry keeps its place, so that entries of two maps still match by index.
    """

    host: str
    file: str
    skip: bool = False

    def __str__(self) -> str:
        """Return `host:file`."""
        return f"{self.host}:{self.file}"


@dataclass(slots=True, init=False)
class MultiDataProduct:
    """
    Files that belong together, on one host.

    Attributes:
        host: Name of the host.
        file: Their paths, in order.
        skip: No job is to get any of them.
        file_skip: As long as `file`: which of them are to be left out.
    """

    host: str
    file: list[str]
    skip: bool
    file_skip: list[bool]

    def __init__(
        self,
        host: str,
        file: Iterable[str] | None = None,
        skip: bool = False,
        file_skip: Iterable[bool] | None = None,
    ) -> None:
        """
        Copy both lists; without `file_skip`, each file is skipped if all are.

        Raises:
            MapfileError: If the lists are not of equal length, or `file` is text.
        """
        if isinstance(file, str):
            raise MapfileError(f"expected a list of files, got {file!a}")
        self.host = host
        self.file = [] if file is None else list(file)
        self.skip = skip
        self.file_skip = [skip] * len(self.file) if file_skip is None else list(file_skip)
        if len(self.file_skip) != len(self.file):
            counts = f"{len(self.file_skip)} and {len(self.file)}"
            raise MapfileError(f"expected as many values in 'file_skip' as in 'file', got {counts}")


def names_of(product: DataProduct | MultiDataProduct) -> list[str]:
    """Return the file of an entry, or its files."""
    return [product.file] if isinstance(product, DataProduct) else product.file
