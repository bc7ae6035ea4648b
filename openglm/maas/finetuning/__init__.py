"""Fine-tuning: a file of conversations in, a private model out, trained beside the model servers."""

from openglm.maas.finetuning.finetuning import FineTuning
from openglm.maas.finetuning.job import Job, JobPage
from openglm.maas.finetuning.worker import TRAINER, Worker

__all__ = ["TRAINER", "FineTuning", "Job", "JobPage", "Worker"]
