"""Used by constructs of several stacks: alarm factory, grants, log groups, cdk-nag acknowledgements."""
