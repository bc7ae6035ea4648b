"""Training: samples -> one loop -> a folder that `glm serve` opens.

`recipe` says what is wanted and `plan` what follows from it; `chats` makes samples, `samples` packs them,
`loop` trains on them, `checkpoint` and `run_folder` write. Importing the package loads no torch.
"""
