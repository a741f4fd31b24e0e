"""What a boot may use, and what it took.

``machine`` is the request: bytes of memory, a device, a dtype to compute in, and the group of processes. ``device``
turns it into torch's device and dtype. ``memory`` reads from the system how much memory is left, and how much the
process took. ``require_torch`` says whether torch is here, before anything imports it.
"""
