"""Several engines on one shared store, in one seeded simulation."""

from perdure.testing.cluster.cluster import Cluster
from perdure.testing.cluster.cluster_engine import ClusterEngine

__all__ = ["Cluster", "ClusterEngine"]
