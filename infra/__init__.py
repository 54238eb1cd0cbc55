"""The deployed resources: validated settings (settings/), one file per stack, constructs by stack (constructs/)."""
