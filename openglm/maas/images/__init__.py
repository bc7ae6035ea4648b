"""Images that models made: kept for a while as files of their owner, opened by links that we signed."""

from openglm.maas.images.images import PURPOSE, Images, kind_of

__all__ = ["PURPOSE", "Images", "kind_of"]
