"""
Map files to compute nodes that can reach them, and write a mapfile: args are names of files.

The third part of /net/sub3/lse007/data2/L1.MS is its sub-cluster; the compute nodes of each sub-cluster get its files
by turns. A cluster without sub-clusters deals all files to all its compute nodes.
"""

import sys

from pipeline.recipe.mapping import MappingRecipe


class datamapper(MappingRecipe):
    classic_rule = "subcluster"


if __name__ == "__main__":
    sys.exit(datamapper().main())
