"""What the Anthropic client has and this platform does not offer: each ends in 404 not_found_error."""

from __future__ import annotations

from tests.sdk.anthropic_sdk import table

table.sends_nothing("beta.webhooks.parse_unverified", "beta.webhooks.unwrap")
table.refuses("not_found_error", "files.*", "organization.*", "skills.*", "user_profiles.*")
table.refuses("not_found_error", "beta.agents.*", "beta.deployment_runs.*", "beta.deployments.*")
table.refuses("not_found_error", "beta.dreams.*", "beta.environments.*", "beta.files.*")
table.refuses("not_found_error", "beta.memory_stores.*", "beta.organization.*", "beta.sessions.*")
table.refuses("not_found_error", "beta.skills.*", "beta.tunnels.*", "beta.user_profiles.*", "beta.vaults.*")
