"""The console's API below /api/console: what people do in a browser, described by its own OpenAPI document.

Sessions and CSRF tokens, never API keys. Rules stand in the rooms that own the data; here is who may ask.
"""

from openglm.maas.console.access import Body, House, Person, check_page, person_of
from openglm.maas.console.api import create_api

__all__ = ["Body", "House", "Person", "check_page", "create_api", "person_of"]
