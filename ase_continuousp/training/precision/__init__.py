"""What numbers a run is kept and computed in, one file each behind one interface.

The kernels of the energy know float32 and float64 only. A low precision therefore says in what
type weights, gradients and the state of the optimizer are kept and exchanged; within one pass
over a batch they are float32, and so are the activations.
"""
