"""What the OpenAI client has and this platform does not offer: each ends in 404 not_offered."""

from __future__ import annotations

from tests.sdk.openai_sdk import table

SOUND, MOVIE = ("a.wav", b"sound"), ("a.mp4", b"film")

# Where the client takes one of several sets of arguments, one that it takes; the first row that fits counts.
table.refuses(
    "not_offered",
    "admin.organization.external_keys.create",
    external_id="x",
    kms_arn="x",
    role_arn="x",
    name="x",
    type="aws_kms",
)
table.refuses("not_offered", "audio.voices.create", audio_sample=SOUND, consent="x", name="x")
table.refuses("not_offered", "beta.agents.automations.create", name="x", run_at="x", target={}, type="once")
table.refuses(
    "not_offered", "beta.agents.environments.files.create", file_id="x", path="/workspace/x", type="file"
)
table.refuses("not_offered", "beta.agents.environments.files.upload", path="/workspace/x", file=b"x")
table.refuses(
    "not_offered",
    "uploads.upload_file_chunked",
    file=b"x",
    filename="x",
    bytes=1,
    mime_type="text/plain",
    purpose="user_data",
)
table.refuses("not_offered", "vector_stores.file_batches.upload_and_poll", files=[("a.txt", b"x")])
table.refuses("not_offered", "videos.edit", "videos.extend", video=MOVIE)

table.refuses("not_offered", "admin.*", "audio.*", "containers.*", "content_provenance_checks.*")
table.refuses("not_offered", "conversations.*", "decisions.*", "evals.*", "fine_tuning.alpha.*", "live.*")
table.refuses("not_offered", "images.edit", "images.create_variation", "realtime.*")
table.refuses("not_offered", "responses.connect", "safety.*", "skills.*", "uploads.*", "vector_stores.*")
table.refuses("not_offered", "videos.*", "fine_tuning.checkpoints.*")
table.refuses("not_offered", "beta.agents.*", "beta.assistants.*", "beta.chatkit.*", "beta.responses.connect")
table.refuses("not_offered", "beta.threads.*", "beta.realtime.sessions.*")
table.refuses("not_offered", "beta.realtime.transcription_sessions.*")
for chat in ("chat.completions", "beta.chat.completions"):  # chats are not kept; the Responses are
    table.refuses("not_offered", f"{chat}.list", f"{chat}.retrieve", f"{chat}.update", f"{chat}.delete")
    table.refuses("not_offered", f"{chat}.messages.list")
table.sends_nothing("webhooks.unwrap", "webhooks.verify_signature")
table.refuses("not_offered", "webhooks.*")
table.sends_nothing("beta.realtime.connect")  # insists on TLS
table.sends_nothing("beta.agents.environments.files.prepare", "beta.agents.sessions.artifacts.for_result")
table.sends_nothing("beta.agents.environments.files.prepare_directory")
