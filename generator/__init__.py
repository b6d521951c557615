"""The generator: prompts a model, parses its replies, evaluates the new expressions and stores the results."""
