"""The Pulumi program: all Kubernetes objects of a site."""
