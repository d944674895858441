"""A policy that publishes in its own status, as a user writes it."""

POLICY = """
apiVersion: slaplanner.io/v1alpha1
kind: SLAPolicy
metadata: {name: fleet}
spec:
  profile: {configMapRef: {name: profile}}
  roles: [{name: prefill, gpusPerReplica: 1}, {name: decode, gpusPerReplica: 1}]
  connector:
    type: Virtual
    virtual: {backend: Kubernetes, dynamoNamespace: fleet, model: llama}
"""
