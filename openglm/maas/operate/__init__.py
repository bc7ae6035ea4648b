"""Running a platform: metrics, backups, and the deletion of old rows."""
