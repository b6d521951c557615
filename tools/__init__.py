"""Tools of the development, no part of what is shipped."""
