"""The networks of the recipes, with the state_dict keys of the projects that train them."""
