"""Run the task `greeting`, or the recipe given."""

import sys

from pipeline import BaseRecipe, StringField


class caller(BaseRecipe):
    inputs = {"recipe": StringField(default="", help="Recipe to cook instead of the task")}
    outputs = {"text": StringField(optional=True)}

    def go(self):
        super().go()
        if not self.inputs["recipe"]:
            self.outputs["text"] = self.run_task("greeting", self.inputs["args"], count=2)["text"]
            return 0
        outputs = {}
        status = self.cook_recipe(self.inputs["recipe"], {"word": "cooked", "args": self.inputs["args"]}, outputs)
        self.outputs["text"] = outputs["text"]
        return status


if __name__ == "__main__":
    sys.exit(caller().main())
