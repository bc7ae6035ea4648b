"""Documents and web pages of strangers as text: read in a process of its own, with limits."""

from openglm.maas.documents.source import DocumentRefused
from openglm.maas.documents.terms import folded, query_terms, terms

__all__ = ["DocumentRefused", "folded", "query_terms", "terms"]
