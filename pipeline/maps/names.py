"""The same map with other names of its files, e.g. those that a program is to write."""

import posixpath
from collections.abc import Callable, Iterable
from typing import TypeVar

from pipeline.errors import MapfileError
from pipeline.model.products import DataProduct, MultiDataProduct

__all__ = ["add_suffix", "make_absolute", "with_folder", "with_suffix"]

_Product = TypeVar("_Product", DataProduct, MultiDataProduct, DataProduct | MultiDataProduct)


def add_suffix(products: Iterable[_Product], suffix: str) -> list[_Product]:
    """Put `suffix` behind each name: `/data/L1.MS` and `.flags` give `/data/L1.MS.flags`."""
    return _renamed(products, lambda file: file.rstrip("/") + suffix)


def with_suffix(products: Iterable[_Product], suffix: str) -> list[_Product]:
    """
    Put `suffix` in place of the ending of each name: `/data/L1.MS` and `.h5` give `/data/L1.h5`.

    Raises:
        MapfileError: If two files of a host would become the same one.
    """
    return _renamed(products, lambda file: posixpath.splitext(file.rstrip("/"))[0] + suffix)


def with_folder(products: Iterable[_Product], folder: str) -> list[_Product]:
    """
    Put each file into `folder` under its last part: `/data/L1.MS` and `/out` give `/out/L1.MS`.

    Raises:
        MapfileError: If two files of a host would become the same one.
    """
    return _renamed(products, lambda file: posixpath.join(folder, file.rstrip("/").rpartition("/")[2]))


def make_absolute(file: str, folder: str) -> str:
    """
    Return `file` as seen from the root, if it is relative to `folder`.

    An absolute name stays as it is, and `..` stays in every name: what is above a link is not known here.

    Raises:
        MapfileError: For an empty name.
    """
    if not file:
        raise MapfileError("expected a name, got an empty one")
    if file.startswith("/"):
        return file
    while file.startswith("./"):
        file = file[2:].lstrip("/")
    return folder if file in ("", ".") else posixpath.join(folder, file)


def _renamed(products: Iterable[_Product], rename: Callable[[str], str]) -> list[_Product]:
    was: dict[tuple[str, str], str] = {}

    def new_name(host: str, file: str) -> str:
        name = rename(file)
        before = was.setdefault((host, name), file)
        if before != file:
            raise MapfileError(f"files {before!r} and {file!r} of {host}: both would become {name!r}")
        return name

    renamed: list[_Product] = []
    for one in products:
        if isinstance(one, DataProduct):
            renamed.append(DataProduct(one.host, new_name(one.host, one.file), one.skip))
        else:
            files = [new_name(one.host, file) for file in one.file]
            renamed.append(MultiDataProduct(one.host, files, one.skip, list(one.file_skip)))
    return renamed
