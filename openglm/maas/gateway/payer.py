"""Who pays for a call: decided here alone, before its hold.

Coding routes spend the subscription and never the wallet. Where agents of the coding plan and users without
one come the same way, a running subscription that includes the model pays, else the wallet; a subscription
that is used up waits for its reset, and the wallet never steps in. Batches spend the wallet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openglm.maas.gateway.call import Call
    from openglm.maas.platform import Platform


async def plan_pays(platform: Platform, call: Call, model: str) -> bool:
    """Whether the subscription pays for what a model or a tool does for this call; else the wallet."""
    if call.batch:
        return False
    if call.surface.payer == "either":
        weighed = platform.models.base_of(model) or model
        return await platform.plans.covers(call.caller.org_id, call.caller.user_id, weighed)
    return call.surface.payer == "plan"
