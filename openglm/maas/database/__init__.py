"""One database behind one face: SQLite in the data folder, or PostgreSQL by URL.

SQL is written once, with `:name` parameters, in the part that both understand. Writes go through one writer
that commits many at once; reads have connections of their own.
"""

from openglm.maas.database.database import Database, DatabaseDown, Row, Transaction, open_database

__all__ = ["Database", "DatabaseDown", "Row", "Transaction", "open_database"]
