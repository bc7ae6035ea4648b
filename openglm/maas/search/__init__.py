"""Web search and page reading as tools: engines behind one Protocol, and the shapes that clients know."""

from openglm.maas.search.engine import Hit, Query, SearchEngine
from openglm.maas.search.index import Document, LocalIndex
from openglm.maas.search.reader import Reader
from openglm.maas.search.routes import charged
from openglm.maas.search.searxng import SearxngEngine

__all__ = ["Document", "Hit", "LocalIndex", "Query", "Reader", "SearchEngine", "SearxngEngine", "charged"]
