"""Greet as often as asked; starts no job."""

import sys

from pipeline import BaseRecipe, IntField, StringField


class greet(BaseRecipe):
    inputs = {
        "word": StringField(default="hello", help="What to say"),
        "count": IntField(default=1, help="How often"),
    }
    outputs = {"text": StringField(), "data": StringField()}

    def go(self):
        super().go()
        self.outputs["text"] = " ".join([self.inputs["word"]] * self.inputs["count"] + self.inputs["args"])
        self.outputs["data"] = self.config.get("DEFAULT", "working_directory")
        return 0


if __name__ == "__main__":
    sys.exit(greet().main())
