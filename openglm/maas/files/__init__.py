"""Files that users upload and that batches write, in the shapes of OpenAI and Zhipu."""

from openglm.maas.files.files import File, Files, is_id
from openglm.maas.files.multipart import read_upload
from openglm.maas.files.routes import disposition

__all__ = ["File", "Files", "disposition", "is_id", "read_upload"]
