"""The families of routes: how each spells its errors, and who pays."""

from __future__ import annotations

from openglm.dialects import anthropic, openai, zhipu
from openglm.maas.gateway.call import Surface

OPENAI = Surface("openai", lambda error, request_id: openai.encode_error(error))
ZHIPU = Surface("zhipu", lambda error, request_id: zhipu.encode_error(error))
CODING = Surface("coding", lambda error, request_id: zhipu.encode_error(error), payer="plan")
ENVELOPE = Surface("zhipu", lambda error, request_id: zhipu.encode_enveloped_error(error))
ANTHROPIC = Surface("anthropic", anthropic.encode_error, payer="either")
BY_WORD = {"openai": OPENAI, "zhipu": ZHIPU, "envelope": ENVELOPE, "anthropic": ANTHROPIC}
