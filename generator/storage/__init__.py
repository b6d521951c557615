"""Database of alphas: `store` writes through SQLAlchemy, `read` reads SQLite's file without it."""
