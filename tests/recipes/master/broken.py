"""End in a way that a recipe should not."""

import sys

from pipeline import BaseRecipe, StringField


class broken(BaseRecipe):
    inputs = {"how": StringField(default="raise")}

    def go(self):
        super().go()
        if self.inputs["how"] == "exit":
            sys.exit(7)
        raise ValueError("no data\nat all")


if __name__ == "__main__":
    sys.exit(broken().main())
