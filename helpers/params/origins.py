"""Where the value of each parameter of a run comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from helpers.params.renamed import rename_parameters
from helpers.params.targets import load_target


def name_origins(
    params: Any, given: Mapping[str, object], recipe_defaults: Mapping[str, object], profile: Mapping[str, object]
) -> dict[str, str]:
    """Maps each parameter to "you", its profile, "recipe", its target or "default", in the order of their weight.

    Args:
        params: the resolved parameters.
        given: those given for this run; None counts as not given.
        recipe_defaults: values that the recipe sets.
        profile: the content of the profile's file.
    """
    known = type(params).model_fields
    target = load_target(params.target)
    layers = (
        ("you", rename_parameters({name: value for name, value in given.items() if value is not None}, known)),
        (f"profile {params.profile}", rename_parameters(profile, known)),
        ("recipe", recipe_defaults),
        (f"target {target.name}", target.defaults),
    )
    return {name: next((where for where, layer in layers if name in layer), "default") for name in known}
