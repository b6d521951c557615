"""The database: `store` writes it through SQLAlchemy, `reading` reads SQLite's file without it."""
