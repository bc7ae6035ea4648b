"""The console's API below /api/console: what people do in a browser, described by its own OpenAPI document.

Sessions and CSRF tokens, never API keys. Rules stand in the rooms that own the data; here is who may ask.
"""
