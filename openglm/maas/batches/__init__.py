"""Batches: a file of requests in, a file of answers out, at half price, whatever happens to the server."""

from openglm.maas.batches.batch import Batch, BatchPage
from openglm.maas.batches.batches import Batches
from openglm.maas.batches.rows import record_row

__all__ = ["Batch", "BatchPage", "Batches", "record_row"]
