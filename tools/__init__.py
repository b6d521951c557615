"""Tools of the development; none is shipped."""
