"""fewbits: communication-efficient distributed and federated learning, replicated in one pipeline."""

__version__ = "0.1.0"
