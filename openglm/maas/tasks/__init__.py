"""Answers that are fetched later: a task is taken in durably, runs in the background, keeps its result."""

from openglm.maas.tasks.tasks import Task, Tasks

__all__ = ["Task", "Tasks"]
