"""The reusable parts: one construct, one file. The stacks are tables of contents of these."""
