"""
Map files to the storage nodes they are on, and write a mapfile: args are names of files.

The fourth part of /net/sub3/lse007/data2/L1.MS is the host; what follows, /data2/L1.MS, is the file as it sees it.
"""

import sys

from pipeline.recipe.mapping import MappingRecipe


class storagemapper(MappingRecipe):
    classic_rule = "storage"


if __name__ == "__main__":
    sys.exit(storagemapper().main())
