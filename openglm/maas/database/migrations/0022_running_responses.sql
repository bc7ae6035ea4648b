-- Those that are being made are looked for every few seconds, among all that are kept.
CREATE INDEX response_running ON response (node_id) WHERE status IN ('queued', 'in_progress');
