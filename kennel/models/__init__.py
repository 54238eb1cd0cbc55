"""Model packages in the bucket, and the promoted one."""
