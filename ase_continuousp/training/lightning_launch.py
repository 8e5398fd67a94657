"""The processes of a run, started or joined by Lightning.

The loop stays our own: its gradient is no ``backward`` of a loss, its batches and noise come from
seed and step, and its checkpoints hold nothing pickled and resume bit for bit. What is left for an
engine, to start processes here or to find those that a cluster started, on one node or many, is
what Lightning Fabric does.
"""

from __future__ import annotations


def launch(devices: int, nodes: int = 1) -> None:
    """Start one process for each device, or join those that a cluster has started.

    The script is run again in every new process, as Lightning does for ``ddp``; training then
    shares its batches among all of them. Under SLURM, torchrun, LSF or Kubeflow, processes are
    found, not started.

    Parameters
    ----------
    devices : int
        Processes on each node.
    nodes : int

    Raises
    ------
    ImportError
        If Lightning is not installed; the message names the extra.
    ValueError
        If there is not at least one of each.

    Examples
    --------
    >>> launch(0)
    Traceback (most recent call last):
    ...
    ValueError: devices must be at least 1: 0
    """
    for name, value in (("devices", devices), ("nodes", nodes)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1: {value}")
    try:
        from lightning.fabric import Fabric
    except ImportError as error:
        raise ImportError(
            "Lightning is not installed: pip install 'ase-continuousp[train]', or use torchrun"
        ) from error
    Fabric(accelerator="cpu", devices=devices, num_nodes=nodes, strategy="ddp").launch()
