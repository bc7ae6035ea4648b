"""Where models come from: a catalogue of names, and downloads that are resumed, checked, and whole or absent.

`resolve(name)` gives a path on this disk, fetching what is missing. Nothing that is fetched is ever executed.
"""

from openglm.hub.catalogue import Catalogue, Entry, Source, catalogue
from openglm.hub.progress import Progress, Silent, progress_for
from openglm.hub.remote import COMPANIONS
from openglm.hub.resolve import LocalModel, finished, lasting, pull, resolve
from openglm.hub.storage import Manifest
from openglm.hub.transfer import Patience

__all__ = [
    "COMPANIONS",
    "Catalogue",
    "Entry",
    "LocalModel",
    "Manifest",
    "Patience",
    "Progress",
    "Silent",
    "Source",
    "catalogue",
    "finished",
    "lasting",
    "progress_for",
    "pull",
    "resolve",
]
