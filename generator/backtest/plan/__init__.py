"""From expressions to a plan: operators, compiler, schedule."""
