"""The Pulumi program: what Geddes gets."""
