"""The script of the classic comparison: INPUT.inp becomes INPUT.out, by the shell's touch."""

import os
import sys

os.system("touch " + sys.argv[1].removesuffix(".inp") + ".out")  # noqa: S605
