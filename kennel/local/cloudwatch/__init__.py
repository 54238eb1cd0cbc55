"""CloudWatch and CloudWatch Logs: metrics, alarms, metric filters, notifications."""
