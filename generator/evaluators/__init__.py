"""What finds out how good an expression is, behind one protocol: see `base`."""
