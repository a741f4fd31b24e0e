"""Bytes to tensors to other bytes: readers that execute nothing, layouts as data, plans, and the engine."""
