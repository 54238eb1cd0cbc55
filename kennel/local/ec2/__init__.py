"""EC2: instances of Auto Scaling groups, quotas, Spot interruptions."""
