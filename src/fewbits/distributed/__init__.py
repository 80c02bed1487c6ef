"""The same algorithms over processes: `torchrun -m fewbits.distributed`, and a communication hook for DDP."""
