"""A chat backend whose every conversation AgentSight sees: `agentsight chat`, or `create_app` in your own code.

It is a customer of AgentSight: it keeps its own tables in its own database and tracks through the public SDK only.
"""
