"""IAM: authorization checks, and the roles that services assume."""
