"""What a run keeps on disk to go on from. Files alone: no process group, no pickle.

`store` keeps checkpoints, `saver` writes them beside the training, `state` turns a run's state into files and back,
`lock` lets one process write, `weights` holds the models for use. `store`, `files` and `lock` do without torch.
"""
