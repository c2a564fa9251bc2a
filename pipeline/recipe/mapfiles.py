"""Mapfiles on disk, and what a recipe does with them: `DataMap` and functions over several of them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, Self, TypeVar, overload

from pipeline.errors import MapfileError
from pipeline.formats.mapfile import Product, Products, format_mapfile, parse_mapfile
from pipeline.formats.values import quote_value
from pipeline.maps.combine import misfit
from pipeline.model.products import DataProduct, MultiDataProduct, names_of
from pipeline.run.textfiles import MAX_TEXT_BYTES, one_line, read_text, write_text

__all__ = [
    "DataMap",
    "MultiDataMap",
    "align_data_maps",
    "load_data_map",
    "read_mapfile",
    "store_data_map",
    "tally_data_map",
    "validate_data_maps",
    "write_mapfile",
]

_P = TypeVar("_P", DataProduct, MultiDataProduct)
_Path = str | os.PathLike[str]


class _Map(Generic[_P]):
    """
    Data products in order.

    Attributes:
        iterator: What `for product in the_map` goes through, given the list: all of them (`iter`, the default),
            `SkipIterator` or `TupleIterator`. Nothing else is changed by it.
    """

    _kind: type[_P]

    def __init__(self, data: Iterable[Any] = (), iterator: Callable[[list[_P]], Iterator[Any]] = iter) -> None:
        """
        Copy data products, or take their values as tuples or dictionaries.

        Raises:
            MapfileError: With all entries that are none.
        """
        self._data: list[_P] = self._products(data)
        self.iterator: Callable[[list[_P]], Iterator[Any]] = iterator

    @staticmethod
    def SkipIterator(data: Iterable[_P]) -> Iterator[_P]:  # the original's name
        """Return the products that are not to be skipped."""
        return (product for product in data if not product.skip)

    @staticmethod
    def TupleIterator(data: Iterable[_P]) -> Iterator[tuple[str, Any]]:  # the original's name
        """Return (host, file) of all products."""
        return ((product.host, product.file) for product in data)

    @property
    def data(self) -> list[_P]:
        """The products; what is assigned is checked and copied."""
        return self._data

    @data.setter
    def data(self, data: Iterable[Any]) -> None:
        self._data = self._products(data)

    @classmethod
    def load(cls, path: _Path) -> Self:
        """
        Read a mapfile of any form.

        Raises:
            MapfileError: With all problems of the file.
        """
        products = read_mapfile(path)
        if products and type(products[0]) is not cls._kind:
            kinds = {DataProduct: "one file", MultiDataProduct: "a list of files"}
            wanted, got = kinds[cls._kind], kinds[type(products[0])]
            raise MapfileError(f"{one_line(path)}: expected {wanted} per entry, got {got}")
        loaded = cls()
        loaded._data = products  # type: ignore[assignment]  # of this kind, as just seen
        return loaded

    def save(self, path: _Path, form: str | None = None) -> None:
        """Write it as `write_mapfile` does."""
        write_mapfile(path, self._data, form)

    def append(self, item: Any) -> None:
        """Add a copy of a product, or its values as a tuple or dictionary, at the end."""
        self._data.append(self._product(item))

    def not_skipped(self) -> list[_P]:
        """Return the products that are not to be skipped."""
        return [product for product in self._data if not product.skip]

    def tuples(self) -> list[tuple[str, Any, bool]]:
        """Return (host, file, skip) of all products."""
        return [(product.host, product.file, product.skip) for product in self._data]

    def __len__(self) -> int:
        return len(self._data)

    def __iter__(self) -> Iterator[Any]:
        return self.iterator(self._data)

    @overload
    def __getitem__(self, index: int) -> _P: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> _P | Self:
        if not isinstance(index, slice):
            return self._data[index]
        part = type(self)(iterator=self.iterator)
        part._data = self._data[index]  # the very products, as with a slice of a list
        return part

    def __eq__(self, other: object) -> bool:
        """Whether both are of one class and have equal products in the same order."""
        if not isinstance(other, _Map):
            return NotImplemented
        return type(other) is type(self) and bool(self._data == other._data)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._data!r})"

    def _products(self, data: Iterable[Any]) -> list[_P]:
        products: list[_P] = []
        problems: list[str] = []
        try:
            items = iter(data)
        except TypeError:
            raise MapfileError(f"expected a list of data products, got {_shown(data)}") from None
        for number, item in enumerate(items, 1):
            try:
                products.append(self._product(item))
            except MapfileError as error:
                problems.append(f"entry {number}: {error}")
        if problems:
            raise MapfileError(problems[:100])
        return products

    def _product(self, item: Any) -> _P:
        try:
            if type(item) is self._kind:
                return self._checked(self._kind(*(getattr(item, name) for name in self._kind.__slots__)))
            if isinstance(item, Mapping):
                return self._checked(self._kind(**item))
            if isinstance(item, tuple | list):
                return self._checked(self._kind(*item))
        except TypeError:
            pass  # too few values, too many, or a wrong key
        raise MapfileError(f"expected {self._kind.__name__}, a tuple or a dictionary of its values, got {_shown(item)}")

    def _checked(self, product: _P) -> _P:
        if not isinstance(product.host, str):
            raise MapfileError(f"expected text for the host, got {_shown(product.host)}")
        if not isinstance(product.skip, bool):
            raise MapfileError(f"expected True or False for skip, got {_shown(product.skip)}")
        return product


class DataMap(_Map[DataProduct]):
    """Files on hosts, in order: one file per entry."""

    _kind = DataProduct

    def _checked(self, product: DataProduct) -> DataProduct:
        product.file = _file_name(product.file)
        return super()._checked(product)


class MultiDataMap(_Map[MultiDataProduct]):
    """Files on hosts, in order: a list of files per entry, to be skipped as a whole or one by one."""

    _kind = MultiDataProduct

    def _checked(self, product: MultiDataProduct) -> MultiDataProduct:
        product.file = [_file_name(file) for file in product.file]
        odd = [skip for skip in product.file_skip if not isinstance(skip, bool)]
        if odd:
            raise MapfileError(f"expected True or False in file_skip, got {_shown(odd[0])}")
        return super()._checked(product)


def read_mapfile(path: _Path) -> Products:
    """
    Return the data products of a mapfile of any form, in order, all of one kind.

    Raises:
        MapfileError: With all problems of the file.
    """
    text = read_text(path, error=MapfileError, what="mapfile")
    return parse_mapfile(text, one_line(path))


def write_mapfile(path: _Path, products: Sequence[Product], form: str | None = None) -> None:
    """
    Write data products, at once or not at all.

    Args:
        path: Of the mapfile.
        products: All of one kind.
        form: `parset`, which groups by host; `literal`; or `json`. None is `parset` where reading that gives the same
            entries in the same order, else `literal`.

    Raises:
        MapfileError: If the file cannot be written, or a name cannot stand in it, or nothing would read it again.
    """
    text = format_mapfile(products, form)
    n_bytes = len(text) if text.isascii() else len(text.encode("utf-8", "surrogateescape"))
    if n_bytes > MAX_TEXT_BYTES:
        # Not written, since nothing would read it: two smaller ones can be.
        raise MapfileError(f"{one_line(path)}: expected a mapfile of at most {MAX_TEXT_BYTES} bytes, got {n_bytes}")
    write_text(path, text, error=MapfileError)


def load_data_map(path: _Path) -> list[tuple[str, str]]:
    """
    Return (host, file) of the entries that are not to be skipped, in order.

    Where the places of entries matter, as between an input and an output map, use `DataMap.load`.

    Raises:
        MapfileError: With all problems of the file.
    """
    return [(product.host, product.file) for product in DataMap.load(path).not_skipped()]


def store_data_map(path: _Path, data: DataMap | MultiDataMap | Iterable[Any], form: str | None = None) -> None:
    """Write a map, or what a `DataMap` can be made of, e.g. (host, file) tuples, as `write_mapfile` does."""
    (data if isinstance(data, _Map) else DataMap(data)).save(path, form)


def validate_data_maps(*maps: DataMap | MultiDataMap) -> bool:
    """Whether the maps are of equal length and the entries at each index are on the same host."""
    return bool(maps) and not misfit(*(one.data for one in maps))


def align_data_maps(*maps: DataMap | MultiDataMap) -> None:
    """
    Mark as skipped in all maps what is skipped in one of them; entries belong together by index.

    Raises:
        MapfileError: If there are not at least two maps, of equal length, with the same host at each index.
    """
    if len(maps) < 2:
        raise MapfileError(f"expected at least two maps to align, got {len(maps)}")
    problem = misfit(*(one.data for one in maps))
    if problem:
        raise MapfileError(problem)
    for products in zip(*(one.data for one in maps), strict=True):
        skip = any(product.skip for product in products)
        for product in products:
            product.skip = skip


def tally_data_map(data: DataMap | MultiDataMap, exist: Callable[[str, list[str]], Sequence[bool]]) -> list[bool]:
    """
    Return which entries have their file, or all their files.

    Args:
        data: Skipped entries are asked for as well.
        exist: Called once for each host with its name and all paths there; says for each path whether it is there.

    Returns:
        (n,) in the order of the map.
    """
    asked: defaultdict[str, list[str]] = defaultdict(list)
    for product in data.data:
        asked[product.host] += names_of(product)
    there = {
        (host, file): is_there
        for host, files in asked.items()
        for file, is_there in zip(files, exist(host, files), strict=True)
    }
    return [all(there[product.host, file] for file in names_of(product)) for product in data.data]


def _file_name(file: object) -> str:
    name = os.fspath(file) if isinstance(file, os.PathLike) else file
    if not isinstance(name, str):
        raise MapfileError(f"expected text for the file, got {_shown(file)}")
    return name


def _shown(value: object) -> str:
    return one_line(quote_value(value))
