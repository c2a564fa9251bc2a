"""Look for files of a map, as the node script of `datamapper` does."""

import sys

from datamapper import datamapper


class storagemapper(datamapper):
    """Its log lines bear this name."""


if __name__ == "__main__":
    sys.exit(storagemapper.main())
