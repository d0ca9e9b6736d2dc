"""Methods that came after the paper, each a setting of the recipe, held against the plain loop where truth is known."""
