"""From the text of a value in pipeline.cfg to what it means; each function is one type of key."""

import logging
import os
import re
import time
from collections.abc import Callable
from typing import Any

from pipeline.errors import HostNameError, ParsetError
from pipeline.formats.values import parse_float, parse_int, quote_value
from pipeline.model.hosts import check_user_name

__all__ = [
    "Convert",
    "date_format",
    "integer",
    "level",
    "log_format",
    "one_of",
    "optional",
    "optional_path",
    "optional_text",
    "optional_user",
    "path",
    "plain",
    "seconds",
]

Convert = Callable[[str, str], Any]
"""From the text of a value and the directory that relative paths start at; raises ParsetError."""

_WIDE = re.compile(r"%[^%a-zA-Z]*[0-9]{4}|%\([a-zA-Z]*\)[^a-zA-Z]*[0-9]{4}")


def plain(text: str, cwd: str) -> str:
    return text


def optional_text(text: str, cwd: str) -> str | None:
    return text or None


def path(text: str, cwd: str) -> str:
    if not text:
        raise ParsetError("expected a path, got nothing")
    return os.path.abspath(os.path.join(cwd, os.path.expanduser(text)))


def optional_path(text: str, cwd: str) -> str | None:
    return path(text, cwd) if text else None


def optional_user(text: str, cwd: str) -> str | None:
    try:
        return check_user_name(text) if text else None
    except HostNameError:
        raise ParsetError(f"expected a user name (letters, digits, '.', '_', '-'), got {quote_value(text)}") from None


def one_of(*choices: str) -> Convert:
    def convert(text: str, cwd: str) -> str:
        if text not in choices:
            raise ParsetError(f"expected {', '.join(choices[:-1])} or {choices[-1]}, got {quote_value(text)}")
        return text

    return convert


def level(text: str, cwd: str) -> int:
    levels = logging.getLevelNamesMapping()
    return levels[one_of("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")(text.upper(), cwd)]


def log_format(text: str, cwd: str) -> str:
    record = logging.LogRecord("name", logging.INFO, "", 0, "message", None, None)
    try:
        if _WIDE.search(text):
            raise ValueError("a field of more than 999 characters")
        logging.Formatter(text).format(record)
    except (ValueError, TypeError) as error:
        raise ParsetError(f"expected a format as in Python's logging, got {quote_value(text)} ({error})") from None
    return text


def date_format(text: str, cwd: str) -> str:
    try:
        if not text or _WIDE.search(text):
            raise ValueError
        time.strftime(text)
    except ValueError:
        raise ParsetError(f"expected a format as in strftime, got {quote_value(text)}") from None
    return text


def integer(least: int, most: int | None = None) -> Convert:
    expected = f"an integer >= {least}" if most is None else f"an integer from {least} to {most}"

    def convert(text: str, cwd: str) -> int:
        try:
            value = parse_int(text)
        except ParsetError:
            value = least - 1
        if value < least or (most is not None and value > most):
            raise ParsetError(f"expected {expected}, got {quote_value(text)}")
        return value

    return convert


def seconds(text: str, cwd: str) -> float:
    try:
        value = parse_float(text)
    except ParsetError:
        value = 0.0
    if value <= 0:
        raise ParsetError(f"expected a number of seconds > 0, got {quote_value(text)}")
    return value


def optional(convert: Convert) -> Convert:
    return lambda text, cwd: convert(text, cwd) if text else None
