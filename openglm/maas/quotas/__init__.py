"""How much of each thing a tenant may have, so that none can fill the house.

`quota` names and judges them and knows nobody; `quotas` is the operator's table.
"""

from openglm.maas.quotas.quota import check, look

__all__ = ["check", "look"]
