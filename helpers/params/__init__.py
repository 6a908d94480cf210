"""Parameters: typed, merged from profile, recipe and target, with errors that name the nearest known name."""

from helpers.params.model import RunParams
from helpers.params.resolve import load_profile, resolve_params
from helpers.params.targets import Target, load_target, target_names

__all__ = ["RunParams", "Target", "load_profile", "load_target", "resolve_params", "target_names"]
