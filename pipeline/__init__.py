"""
Master/node recipes over SSH: run a script where the data is.

The public API, imported on first use: on a host `from pipeline import Node` loads the standard library only.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # see node/script.py
if TYPE_CHECKING:
    from typing import Any

_HOME_OF = {
    "BaseRecipe": "pipeline.recipe.base",
    "BoolField": "pipeline.recipe.fields",
    "CommandJob": "pipeline.model.jobs",
    "ComputeJob": "pipeline.model.jobs",
    "DataMap": "pipeline.recipe.mapfiles",
    "DataProduct": "pipeline.model.products",
    "DictField": "pipeline.recipe.fields",
    "DirectoryField": "pipeline.recipe.fields",
    "ExecField": "pipeline.recipe.fields",
    "FileField": "pipeline.recipe.fields",
    "FileList": "pipeline.recipe.fields",
    "FloatField": "pipeline.recipe.fields",
    "IntField": "pipeline.recipe.fields",
    "JobState": "pipeline.model.jobs",
    "ListField": "pipeline.recipe.fields",
    "LogClient": "pipeline.run.log_client",
    "MultiDataMap": "pipeline.recipe.mapfiles",
    "MultiDataProduct": "pipeline.model.products",
    "Node": "pipeline.node.script",
    "Parset": "pipeline.formats.parset",
    "ParsetError": "pipeline.errors",
    "PipelineError": "pipeline.errors",
    "RemoteCommand": "pipeline.recipe.remote",
    "RemoteCommandRecipeMixIn": "pipeline.recipe.remote",
    "StoreTrueField": "pipeline.recipe.fields",
    "StringField": "pipeline.recipe.fields",
    "UsageError": "pipeline.errors",
    "align_data_maps": "pipeline.recipe.mapfiles",
    "load_data_map": "pipeline.recipe.mapfiles",
    "read_clusterdesc": "pipeline.recipe.clusterdescs",
    "read_parset": "pipeline.recipe.parsets",
    "store_data_map": "pipeline.recipe.mapfiles",
    "tally_data_map": "pipeline.recipe.mapfiles",
    "validate_data_maps": "pipeline.recipe.mapfiles",
    "write_parset": "pipeline.recipe.parsets",
}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    """Import a public name from the module it lives in."""
    if name not in _HOME_OF:
        raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value
