"""Files that users upload and that batches write, in the shapes of OpenAI and Zhipu."""

from openglm.maas.files.files import File, Files

__all__ = ["File", "Files"]
